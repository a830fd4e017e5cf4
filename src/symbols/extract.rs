//! Source text to definitions: one parse, and one walk over the upper part of the tree.

use super::grammar::{Grammar, Meaning, Name};
use super::{Cut, Extracted, Symbol, SymbolKind};
use crate::limits::{SYMBOL_BYTES_MAX, SYMBOL_NAME_BYTES_MAX, SYMBOL_PARSE_TIME, SYMBOLS_PER_FILE_MAX};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tree_sitter::{Node, ParseOptions, Parser, Tree, TreeCursor};

/// Declarators within declarators that are followed: no program has as many.
const DECLARATORS_MAX: usize = 32;
/// Nodes of a tree between two looks at the time.
const NODES_BETWEEN_LOOKS: u32 = 4096;

/// Extracts definitions; keeps a parser a grammar.
#[derive(Default)]
pub struct Extractor {
    grammars: HashMap<Grammar, Loaded>,
    cancelled: Arc<AtomicBool>,
}

impl std::fmt::Debug for Extractor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extractor").finish_non_exhaustive()
    }
}

struct Loaded {
    parser: Parser,
    /// By the id of a node's kind.
    meanings: Vec<Option<Meaning>>,
}

impl Loaded {
    /// `None` when the grammar was made for another version of tree-sitter, which a test rules out.
    fn new(grammar: Grammar) -> Option<Loaded> {
        let language = grammar.language();
        let mut parser = Parser::new();
        parser.set_language(&language).ok()?;
        let mut by_name = HashMap::new();
        for table in grammar.tables() {
            by_name.extend(table.iter().copied());
        }
        let kinds = u16::try_from(language.node_kind_count()).unwrap_or(u16::MAX);
        let named = |kind: u16| language.node_kind_is_named(kind).then(|| language.node_kind_for_id(kind)).flatten();
        let meanings = (0..kinds).map(|kind| named(kind).and_then(|name| by_name.get(name).copied())).collect();
        Some(Loaded { parser, meanings })
    }

    fn meaning(&self, node: Node<'_>) -> Option<Meaning> {
        if node.is_error() {
            // Definitions around something that does not parse are still there.
            return Some(Meaning { defines: None, enter: true, scope: None });
        }
        self.meanings.get(usize::from(node.kind_id())).copied().flatten()
    }
}

impl Extractor {
    /// An extractor.
    pub fn new() -> Extractor {
        Extractor::default()
    }

    /// The same that gives a parse up when the flag is set, as if it took too long.
    #[must_use]
    pub fn cancelled_by(self, flag: Arc<AtomicBool>) -> Extractor {
        Extractor { cancelled: flag, ..self }
    }

    /// The definitions of a file with this text. A header that is not C is read as C++.
    pub fn extract(&mut self, grammar: Grammar, text: &str) -> Extracted {
        self.extract_within(grammar, text, SYMBOL_PARSE_TIME)
    }

    pub(super) fn extract_within(&mut self, grammar: Grammar, text: &str, patience: Duration) -> Extracted {
        let grammar = if grammar == Grammar::C && is_cpp(text) { Grammar::Cpp } else { grammar };
        let mut cut = None;
        let mut text = text;
        if text.len() > SYMBOL_BYTES_MAX {
            let end = text.as_bytes()[..SYMBOL_BYTES_MAX].iter().rposition(|&byte| byte == b'\n');
            text = text.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
            cut = Some(Cut::Size);
        }
        let loaded = match self.grammars.entry(grammar) {
            std::collections::hash_map::Entry::Occupied(loaded) => loaded.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => match Loaded::new(grammar) {
                Some(loaded) => vacant.insert(loaded),
                None => return Extracted::default(),
            },
        };
        let until = Instant::now() + patience;
        let is_over = || self.cancelled.load(Relaxed) || Instant::now() >= until;
        let Some(tree) = parse(&mut loaded.parser, text, is_over) else {
            return Extracted { symbols: Vec::new(), cut: Some(Cut::Time) };
        };
        let mut walk = Walk { loaded, grammar, text, scopes: Vec::new(), symbols: Vec::new() };
        cut = walk.all(&tree, is_over).or(cut);
        let mut symbols = walk.symbols;
        // A definition is met before what it holds, but a variable after the type that its declaration defines.
        symbols.sort_by_key(|symbol| symbol.line);
        Extracted { symbols, cut }
    }
}

/// Whether a file of C's kind is C++: headers have the same ending.
fn is_cpp(text: &str) -> bool {
    const SIGNS: [&str; 4] = ["class ", "namespace ", "template<", "template <"];
    SIGNS.iter().any(|sign| {
        memchr::memmem::find_iter(text.as_bytes(), sign.as_bytes())
            .take(64)
            .any(|at| at == 0 || text.as_bytes()[at - 1] == b'\n')
    })
}

fn parse(parser: &mut Parser, text: &str, is_over: impl Fn() -> bool) -> Option<Tree> {
    let mut progress =
        |_: &tree_sitter::ParseState| if is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let bytes = text.as_bytes();
    let mut read = |at: usize, _| bytes.get(at..).unwrap_or_default();
    let tree = parser.parse_with_options(&mut read, None, Some(ParseOptions::new().progress_callback(&mut progress)));
    if tree.is_none() {
        // It would go on where it stopped.
        parser.reset();
    }
    tree
}

/// What the symbols that are found belong to.
struct Scope {
    /// They are deeper in the tree than this.
    depth: usize,
    /// With those of the scopes around it; empty when that is too long for anyone.
    name: String,
    /// Functions in it are methods.
    is_type: bool,
}

struct Walk<'t> {
    loaded: &'t Loaded,
    grammar: Grammar,
    text: &'t str,
    scopes: Vec<Scope>,
    symbols: Vec<Symbol>,
}

impl<'t> Walk<'t> {
    /// Goes over the tree. Returns why it has stopped, if not at the end.
    fn all(&mut self, tree: &'t Tree, is_over: impl Fn() -> bool) -> Option<Cut> {
        let mut nodes = 0u32;
        let mut cursor: TreeCursor<'t> = tree.walk();
        let mut depth = 0;
        loop {
            let node = cursor.node();
            while self.scopes.last().is_some_and(|scope| scope.depth >= depth) {
                self.scopes.pop();
            }
            let enter = self.loaded.meaning(node).is_some_and(|meaning| {
                self.node(node, meaning, depth);
                meaning.enter
            });
            if self.symbols.len() >= SYMBOLS_PER_FILE_MAX {
                return Some(Cut::Count);
            }
            nodes = nodes.wrapping_add(1);
            if nodes.is_multiple_of(NODES_BETWEEN_LOOKS) && is_over() {
                self.symbols.clear();
                return Some(Cut::Time);
            }
            if enter && cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return None;
                }
                depth -= 1;
            }
        }
    }

    fn node(&mut self, node: Node<'t>, meaning: Meaning, depth: usize) {
        if let Some(field) = meaning.scope
            && let Some(named) = node.child_by_field_name(field)
        {
            let name = base_name(self.text_of(named)).to_owned();
            self.open(depth, &name, true);
            return;
        }
        let Some((kind, name)) = meaning.defines else { return };
        match name {
            Name::Field => self.named(node, node, kind, meaning.enter, depth),
            Name::FieldWithBody if node.child_by_field_name("body").is_none() => {}
            Name::FieldWithBody => self.named(node, node, kind, meaning.enter, depth),
            Name::Declarator | Name::VariableDeclarator => self.declared(node, kind, name),
            Name::FunctionValue => {
                let is_function = node.child_by_field_name("value").is_some_and(is_function);
                let kind = if is_function { SymbolKind::Function } else { kind };
                self.named(node, node, kind, false, depth);
            }
            Name::Assigned => self.assigned(node, kind),
        }
    }

    /// A node with a field `name`, or with several.
    fn named(&mut self, node: Node<'t>, whole: Node<'t>, kind: SymbolKind, holds: bool, depth: usize) {
        let mut cursor = node.walk();
        let names: Vec<Node<'t>> = node.children_by_field_name("name", &mut cursor).collect();
        for &name in &names {
            if !is_name(name) {
                continue;
            }
            let (scope, name) = split_scope(self.text_of(name));
            let kind = self.refined(node, kind);
            self.add(name, kind, whole, scope);
            if holds {
                self.open(depth, name, !matches!(kind, SymbolKind::Module));
            }
        }
    }

    /// The name at the end of each field `declarator`.
    fn declared(&mut self, node: Node<'t>, kind: SymbolKind, which: Name) {
        if which == Name::VariableDeclarator && self.is_extern(node) {
            return;
        }
        let mut cursor = node.walk();
        let declarators: Vec<Node<'t>> = node.children_by_field_name("declarator", &mut cursor).collect();
        for declarator in declarators {
            let Some((name, has_parameters)) = innermost(declarator) else { continue };
            let in_class = self.grammar == Grammar::Cpp && self.scopes.last().is_some_and(|scope| scope.is_type);
            let (kind, wanted) = match kind {
                // Constructors have no type, and so are not fields.
                SymbolKind::Variable if in_class && has_parameters => (SymbolKind::Method, true),
                SymbolKind::Variable => (kind, !has_parameters),
                // Of the members of a class, its functions.
                SymbolKind::Method => (kind, has_parameters),
                _ => (kind, true),
            };
            if wanted {
                let (scope, name) = split_scope(self.text_of(name));
                self.add(name, kind, node, scope);
            }
        }
    }

    fn is_extern(&self, node: Node<'t>) -> bool {
        let mut cursor = node.walk();
        let mut children = node.children(&mut cursor);
        children.any(|child| child.kind() == "storage_class_specifier" && self.text_of(child) == "extern")
    }

    /// `name = ...`, and `exports.name = function`.
    fn assigned(&mut self, node: Node<'t>, kind: SymbolKind) {
        let Some(left) = node.child_by_field_name("left") else { return };
        let is_function = node.child_by_field_name("right").is_some_and(is_function);
        match left.kind() {
            "identifier" if self.grammar == Grammar::Python => self.add(self.text_of(left), kind, node, None),
            "member_expression" if is_function => {
                if let Some(name) = left.child_by_field_name("property") {
                    self.add(self.text_of(name), kind, node, None);
                }
            }
            _ => {}
        }
    }

    /// What the node shows beyond its kind.
    fn refined(&self, node: Node<'t>, kind: SymbolKind) -> SymbolKind {
        if self.grammar == Grammar::Go && kind == SymbolKind::Type {
            return match node.child_by_field_name("type").map(|node| node.kind()) {
                Some("struct_type") => SymbolKind::Struct,
                Some("interface_type") => SymbolKind::Interface,
                _ => kind,
            };
        }
        kind
    }

    fn add(&mut self, name: &str, kind: SymbolKind, node: Node<'t>, scope: Option<&str>) {
        if name.is_empty() || name.len() > SYMBOL_NAME_BYTES_MAX || self.symbols.len() >= SYMBOLS_PER_FILE_MAX {
            return;
        }
        let line = |row: usize| u32::try_from(row + 1).unwrap_or(u32::MAX);
        let (start, end) = (node.start_position(), node.end_position());
        // What ends with its newline ends on the line before.
        let end_row = if end.column == 0 && end.row > start.row { end.row - 1 } else { end.row };
        let receiver = self.receiver(node);
        let in_type = self.scopes.last().is_some_and(|scope| scope.is_type) || scope.is_some();
        let kind = if kind == SymbolKind::Function && in_type { SymbolKind::Method } else { kind };
        let outer = self.scopes.last().map(|scope| &scope.name[..]).filter(|name| !name.is_empty());
        let container = outer.into_iter().chain(scope).chain(receiver).collect::<Vec<_>>().join("::");
        self.symbols.push(Symbol {
            name: name.to_owned(),
            kind,
            line: line(start.row),
            end_line: line(end_row),
            container: (!container.is_empty() && container.len() <= SYMBOL_NAME_BYTES_MAX).then_some(container),
        });
    }

    /// The type of a method of Go.
    fn receiver(&self, node: Node<'t>) -> Option<&'t str> {
        let receiver = node.child_by_field_name("receiver").filter(|_| self.grammar == Grammar::Go)?;
        let of = receiver.named_child(0)?.child_by_field_name("type")?;
        Some(base_name(self.text_of(of).trim_start_matches('*')))
    }

    fn open(&mut self, depth: usize, name: &str, is_type: bool) {
        let outer = self.scopes.last().map_or("", |scope| &scope.name);
        let name = if outer.is_empty() { name.to_owned() } else { format!("{outer}::{name}") };
        let name = if name.len() <= SYMBOL_NAME_BYTES_MAX { name } else { String::new() };
        self.scopes.push(Scope { depth, name, is_type });
    }

    fn text_of(&self, node: Node<'t>) -> &'t str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }
}

fn is_function(node: Node<'_>) -> bool {
    matches!(node.kind(), "arrow_function" | "function_expression" | "generator_function")
}

/// Not a comma between names, nor a pattern that takes a value apart.
fn is_name(node: Node<'_>) -> bool {
    node.is_named() && !matches!(node.kind(), "array_pattern" | "object_pattern" | "string")
}

/// `Vec<T>` is `Vec`.
fn base_name(name: &str) -> &str {
    name.split(['<', '[', ' ']).next().unwrap_or(name)
}

/// `a::b::c` is `c` of `a::b`.
fn split_scope(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once("::") {
        Some((scope, name)) => (Some(scope), name),
        None => (None, name),
    }
}

/// The name within a declarator of C, and whether parameters follow it.
fn innermost(declarator: Node<'_>) -> Option<(Node<'_>, bool)> {
    let mut node = declarator;
    let mut has_parameters = false;
    for _ in 0..DECLARATORS_MAX {
        match node.kind() {
            "identifier"
            | "field_identifier"
            | "type_identifier"
            | "qualified_identifier"
            | "destructor_name"
            | "operator_name" => return Some((node, has_parameters)),
            "primitive_type" => return None,
            "function_declarator" => has_parameters = true,
            // `int (*name)(void)` is a variable.
            "parenthesized_declarator" => has_parameters = false,
            _ => {}
        }
        node = node.child_by_field_name("declarator").or_else(|| first_declarator(node))?;
    }
    None
}

/// Of declarators without the field.
fn first_declarator(node: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = node.walk();
    let mut children = node.named_children(&mut cursor);
    children.find(|child| child.kind().ends_with("declarator") || child.kind().ends_with("identifier"))
}
