//! Which grammar reads a file, and what the nodes of its trees mean.
//!
//! One table a grammar: the nodes that define something, where their name stands, and the nodes that are gone through on the
//! way to them. Everything else, bodies of functions above all, is not looked at.

#[cfg(feature = "symbols")]
use super::SymbolKind;

/// A grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Grammar {
    /// C.
    C,
    /// C++.
    Cpp,
    /// Go.
    Go,
    /// Java.
    Java,
    /// JavaScript, with JSX.
    JavaScript,
    /// Python.
    Python,
    /// Rust.
    Rust,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
}

impl Grammar {
    /// The grammar for files of a language: `c`, `cpp`, `go`, `java`, `javascript`, `python`, `rust` or `typescript`, which has
    /// another one for names that end in `x`. `None` when there is none for it.
    pub fn of(language: &str, file_name: &[u8]) -> Option<Grammar> {
        if cfg!(not(feature = "symbols")) {
            return None;
        }
        Some(match language {
            "c" => Grammar::C,
            "cpp" => Grammar::Cpp,
            "go" => Grammar::Go,
            "java" => Grammar::Java,
            "javascript" => Grammar::JavaScript,
            "python" => Grammar::Python,
            "rust" => Grammar::Rust,
            "typescript" if file_name.ends_with(b"x") => Grammar::Tsx,
            "typescript" => Grammar::TypeScript,
            _ => return None,
        })
    }
}

/// Where the name of a definition stands.
#[cfg(feature = "symbols")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// In the field `name`.
    Field,
    /// In the field `name`, if there is a `body`: otherwise the node only mentions the type.
    FieldWithBody,
    /// At the end of the field `declarator`, inside of pointers, arrays and parameters; what has parameters is a function.
    Declarator,
    /// As `Declarator`, but only what has no parameters: a variable, and not the prototype of a function.
    VariableDeclarator,
    /// In the field `name`, if `value` is a function.
    FunctionValue,
    /// The identifier on the left of an assignment; of a member, if the right is a function.
    Assigned,
}

/// What a node means.
#[cfg(feature = "symbols")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// What it defines.
    pub(super) defines: Option<(SymbolKind, Name)>,
    /// Whether its children are looked at.
    pub(super) enter: bool,
    /// The field with the name of what its children belong to, when it defines nothing itself.
    pub(super) scope: Option<&'static str>,
}

#[cfg(feature = "symbols")]
pub(super) type Entry = (&'static str, Meaning);

#[cfg(feature = "symbols")]
const fn through(node: &'static str) -> Entry {
    (node, Meaning { defines: None, enter: true, scope: None })
}

#[cfg(feature = "symbols")]
const fn scope(node: &'static str, field: &'static str) -> Entry {
    (node, Meaning { defines: None, enter: true, scope: Some(field) })
}

/// A definition that holds no others.
#[cfg(feature = "symbols")]
const fn leaf(node: &'static str, kind: SymbolKind, name: Name) -> Entry {
    (node, Meaning { defines: Some((kind, name)), enter: false, scope: None })
}

/// A definition that others belong to.
#[cfg(feature = "symbols")]
const fn holder(node: &'static str, kind: SymbolKind, name: Name) -> Entry {
    (node, Meaning { defines: Some((kind, name)), enter: true, scope: None })
}

#[cfg(feature = "symbols")]
mod tables {
    use super::{Entry, Grammar, Name::*, SymbolKind as Kind, holder, leaf, scope, through};
    use tree_sitter::Language;

    const C: &[Entry] = &[
        through("translation_unit"),
        through("preproc_if"),
        through("preproc_ifdef"),
        through("preproc_else"),
        through("preproc_elif"),
        through("preproc_elifdef"),
        through("linkage_specification"),
        through("declaration_list"),
        through("field_declaration_list"),
        through("field_declaration"),
        through("enumerator_list"),
        through("ERROR"),
        leaf("function_definition", Kind::Function, Declarator),
        holder("declaration", Kind::Variable, VariableDeclarator),
        holder("type_definition", Kind::Type, Declarator),
        holder("struct_specifier", Kind::Struct, FieldWithBody),
        holder("union_specifier", Kind::Union, FieldWithBody),
        holder("enum_specifier", Kind::Enum, FieldWithBody),
        leaf("enumerator", Kind::Variant, Field),
        leaf("preproc_def", Kind::Macro, Field),
        leaf("preproc_function_def", Kind::Macro, Field),
    ];

    /// What C++ has beside C.
    const CPP: &[Entry] = &[
        through("template_declaration"),
        holder("class_specifier", Kind::Class, FieldWithBody),
        holder("namespace_definition", Kind::Module, Field),
        leaf("alias_declaration", Kind::Type, Field),
        leaf("concept_definition", Kind::Interface, Field),
        // Functions that a class declares; the body may be anywhere.
        holder("field_declaration", Kind::Method, Declarator),
    ];

    const GO: &[Entry] = &[
        through("source_file"),
        through("type_declaration"),
        through("const_declaration"),
        through("var_declaration"),
        through("var_spec_list"),
        leaf("function_declaration", Kind::Function, Field),
        leaf("method_declaration", Kind::Method, Field),
        leaf("type_spec", Kind::Type, Field),
        leaf("type_alias", Kind::Type, Field),
        leaf("const_spec", Kind::Constant, Field),
        leaf("var_spec", Kind::Variable, Field),
    ];

    const JAVA: &[Entry] = &[
        through("program"),
        through("class_body"),
        through("interface_body"),
        through("enum_body"),
        through("enum_body_declarations"),
        through("annotation_type_body"),
        through("field_declaration"),
        through("constant_declaration"),
        holder("class_declaration", Kind::Class, Field),
        holder("record_declaration", Kind::Struct, Field),
        holder("enum_declaration", Kind::Enum, Field),
        holder("interface_declaration", Kind::Interface, Field),
        holder("annotation_type_declaration", Kind::Interface, Field),
        leaf("enum_constant", Kind::Variant, Field),
        leaf("method_declaration", Kind::Method, Field),
        leaf("constructor_declaration", Kind::Method, Field),
        leaf("variable_declarator", Kind::Variable, Field),
    ];

    const JAVASCRIPT: &[Entry] = &[
        through("program"),
        through("export_statement"),
        through("lexical_declaration"),
        through("variable_declaration"),
        through("expression_statement"),
        through("class_body"),
        holder("class_declaration", Kind::Class, Field),
        leaf("function_declaration", Kind::Function, Field),
        leaf("generator_function_declaration", Kind::Function, Field),
        leaf("method_definition", Kind::Method, Field),
        leaf("variable_declarator", Kind::Variable, FunctionValue),
        leaf("assignment_expression", Kind::Function, Assigned),
    ];

    /// What TypeScript has beside JavaScript.
    const TYPESCRIPT: &[Entry] = &[
        through("ambient_declaration"),
        through("interface_body"),
        through("enum_body"),
        through("statement_block"),
        holder("abstract_class_declaration", Kind::Class, Field),
        holder("interface_declaration", Kind::Interface, Field),
        holder("enum_declaration", Kind::Enum, Field),
        holder("internal_module", Kind::Module, Field),
        holder("module", Kind::Module, Field),
        leaf("type_alias_declaration", Kind::Type, Field),
        leaf("function_signature", Kind::Function, Field),
        leaf("method_signature", Kind::Method, Field),
        leaf("abstract_method_signature", Kind::Method, Field),
        leaf("enum_assignment", Kind::Variant, Field),
    ];

    const PYTHON: &[Entry] = &[
        through("module"),
        through("block"),
        through("decorated_definition"),
        through("if_statement"),
        through("elif_clause"),
        through("else_clause"),
        through("try_statement"),
        through("except_clause"),
        through("finally_clause"),
        through("with_statement"),
        through("expression_statement"),
        holder("class_definition", Kind::Class, Field),
        leaf("function_definition", Kind::Function, Field),
        leaf("assignment", Kind::Variable, Assigned),
        leaf("type_alias_statement", Kind::Type, Field),
    ];

    const RUST: &[Entry] = &[
        through("source_file"),
        through("declaration_list"),
        through("enum_variant_list"),
        through("foreign_mod_item"),
        scope("impl_item", "type"),
        holder("mod_item", Kind::Module, Field),
        holder("trait_item", Kind::Interface, Field),
        holder("enum_item", Kind::Enum, Field),
        leaf("struct_item", Kind::Struct, Field),
        leaf("union_item", Kind::Union, Field),
        leaf("enum_variant", Kind::Variant, Field),
        leaf("function_item", Kind::Function, Field),
        leaf("function_signature_item", Kind::Function, Field),
        leaf("macro_definition", Kind::Macro, Field),
        leaf("const_item", Kind::Constant, Field),
        leaf("static_item", Kind::Variable, Field),
        leaf("type_item", Kind::Type, Field),
        leaf("associated_type", Kind::Type, Field),
    ];

    impl Grammar {
        /// Its tables; later ones add to and overrule earlier ones.
        pub(in crate::symbols) fn tables(self) -> &'static [&'static [Entry]] {
            match self {
                Grammar::C => &[C],
                Grammar::Cpp => &[C, CPP],
                Grammar::Go => &[GO],
                Grammar::Java => &[JAVA],
                Grammar::JavaScript => &[JAVASCRIPT],
                Grammar::Python => &[PYTHON],
                Grammar::Rust => &[RUST],
                Grammar::TypeScript | Grammar::Tsx => &[JAVASCRIPT, TYPESCRIPT],
            }
        }

        pub(in crate::symbols) fn language(self) -> Language {
            match self {
                Grammar::C => tree_sitter_c::LANGUAGE.into(),
                Grammar::Cpp => tree_sitter_cpp::LANGUAGE.into(),
                Grammar::Go => tree_sitter_go::LANGUAGE.into(),
                Grammar::Java => tree_sitter_java::LANGUAGE.into(),
                Grammar::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
                Grammar::Python => tree_sitter_python::LANGUAGE.into(),
                Grammar::Rust => tree_sitter_rust::LANGUAGE.into(),
                Grammar::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
                Grammar::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            }
        }
    }
}

#[cfg(feature = "symbols")]
impl Grammar {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Grammar; 9] = [
        Grammar::C,
        Grammar::Cpp,
        Grammar::Go,
        Grammar::Java,
        Grammar::JavaScript,
        Grammar::Python,
        Grammar::Rust,
        Grammar::TypeScript,
        Grammar::Tsx,
    ];
}
