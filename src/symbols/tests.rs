//! What is found in each language, and that nothing takes for ever.

use super::grammar::Grammar;
use super::{Cut, Extractor, SymbolKind};
use crate::limits::{SYMBOL_BYTES_MAX, SYMBOLS_PER_FILE_MAX};
use proptest::prelude::*;
use std::time::Duration;

/// `kind container::name line-end`, a line each.
#[track_caller]
fn check(grammar: Grammar, text: &str, expect: &[&str]) {
    let extracted = Extractor::new().extract(grammar, text);
    let found: Vec<String> = extracted
        .symbols
        .iter()
        .map(|symbol| {
            let container = symbol.container.as_ref().map_or(String::new(), |container| format!("{container}::"));
            format!("{} {container}{} {}-{}", symbol.kind, symbol.name, symbol.line, symbol.end_line)
        })
        .collect();
    assert_eq!(found, expect);
    assert_eq!(extracted.cut, None);
}

#[test]
fn c() {
    let text = r"#define PAGE 4096
#define max(a, b) \
    ((a) > (b) ? (a) : (b))
extern int elsewhere;
int prototype(void);
static const int table[] = { 1, 2 }, *other;
struct forward;
struct node {
    struct { int x; } inner;
    enum color { RED, GREEN = 2 } color;
};
typedef struct pair { int a, b; } pair_t;
typedef int (*callback)(void *);
union value { int i; };
#ifdef CONFIG_X
static inline struct node *node_new(struct node *of)
{
    int local = 0;
    return of;
}
#endif
int (*handler)(int);
";
    check(
        Grammar::C,
        text,
        &[
            "macro PAGE 1-1",
            "macro max 2-3",
            "variable table 6-6",
            "variable other 6-6",
            "struct node 8-11",
            "enum node::color 10-10",
            "variant node::color::RED 10-10",
            "variant node::color::GREEN 10-10",
            "type pair_t 12-12",
            "struct pair 12-12",
            "type callback 13-13",
            "union value 14-14",
            "function node_new 16-20",
            "variable handler 22-22",
        ],
    );
}

#[test]
fn cpp() {
    let text = r"namespace net {
class Socket : public Base {
public:
    explicit Socket(int fd);
    ~Socket();
    int send(const char *data) { return 0; }
    bool operator==(const Socket &other) const;
private:
    int fd_;
};
template <typename T>
T largest(T a, T b) { return a > b ? a : b; }
using Handle = int;
enum class State { Open, Closed };
}
int net::Socket::flush(int how) { return how; }
";
    check(
        Grammar::Cpp,
        text,
        &[
            "module net 1-15",
            "class net::Socket 2-10",
            "method net::Socket::Socket 4-4",
            "method net::Socket::~Socket 5-5",
            "method net::Socket::send 6-6",
            "method net::Socket::operator== 7-7",
            "function net::largest 12-12",
            "type net::Handle 13-13",
            "enum net::State 14-14",
            "variant net::State::Open 14-14",
            "variant net::State::Closed 14-14",
            "method net::Socket::flush 16-16",
        ],
    );
    // A header that is not C.
    check(Grammar::C, "class A {\n};\n", &["class A 1-2"]);
}

#[test]
fn rust() {
    let text = r#"mod inner {
    pub(crate) struct Point { x: i32 }
    impl<T> Shape for Point<T> {
        const SIDES: u32 = 0;
        fn area(&self) -> f32 { fn hidden() {} 0.0 }
    }
}
pub trait Shape { type Unit; fn area(&self) -> f32; }
enum Kind { A, B(u8) }
macro_rules! say { () => {} }
static COUNT: u32 = 1;
type Alias = u8;
pub async fn run() {}
union Bits { a: u8 }
extern "C" { fn getpid() -> i32; }
"#;
    check(
        Grammar::Rust,
        text,
        &[
            "module inner 1-7",
            "struct inner::Point 2-2",
            "constant inner::Point::SIDES 4-4",
            "method inner::Point::area 5-5",
            "interface Shape 8-8",
            "type Shape::Unit 8-8",
            "method Shape::area 8-8",
            "enum Kind 9-9",
            "variant Kind::A 9-9",
            "variant Kind::B 9-9",
            "macro say 10-10",
            "variable COUNT 11-11",
            "type Alias 12-12",
            "function run 13-13",
            "union Bits 14-14",
            "function getpid 15-15",
        ],
    );
}

#[test]
fn python() {
    let text = "LIMIT = 3\nclass Reader(Base):\n    size = 1\n    @property\n    def name(self):\n        x = 1\n        def hidden(): pass\n\nif LIMIT:\n    def late():\n        pass\n\nasync def run(): pass\n";
    check(
        Grammar::Python,
        text,
        &[
            "variable LIMIT 1-1",
            "class Reader 2-7",
            "variable Reader::size 3-3",
            "method Reader::name 5-7",
            "function late 10-11",
            "function run 13-13",
        ],
    );
}

#[test]
fn javascript_and_typescript() {
    let text = r"export class Store extends Base { get(key) { return 1; } static make() {} }
export const load = async (path) => path, limit = 4;
function* walk() {}
const { a, b } = require('x');
exports.save = function (x) { return x; };
";
    check(
        Grammar::JavaScript,
        text,
        &[
            "class Store 1-1",
            "method Store::get 1-1",
            "method Store::make 1-1",
            "function load 2-2",
            "variable limit 2-2",
            "function walk 3-3",
            "function save 5-5",
        ],
    );
    let text = r"export interface Shape { area(): number }
export type Id = string | number;
enum Color { Red, Green = 2 }
namespace geometry { export function unit(): number { return 1; } }
declare function native(x: number): void;
abstract class Base { abstract go(): void; run() {} }
";
    let expect = [
        "interface Shape 1-1",
        "method Shape::area 1-1",
        "type Id 2-2",
        "enum Color 3-3",
        "variant Color::Green 3-3",
        "module geometry 4-4",
        "function geometry::unit 4-4",
        "function native 5-5",
        "class Base 6-6",
        "method Base::go 6-6",
        "method Base::run 6-6",
    ];
    check(Grammar::TypeScript, text, &expect);
    check(Grammar::Tsx, text, &expect);
    check(Grammar::Tsx, "const App = () => <div />;\n", &["function App 1-1"]);
}

#[test]
fn go() {
    let text = "package p\n\nconst Max, Min = 1, 2\n\nvar cache map[string]int\n\ntype (\n\tServer struct{ a int }\n\tHandler interface{ Serve() }\n\tId = int\n)\n\nfunc (s *Server) Serve(x int) {}\nfunc New() *Server { return nil }\n";
    check(
        Grammar::Go,
        text,
        &[
            "constant Max 3-3",
            "constant Min 3-3",
            "variable cache 5-5",
            "struct Server 8-8",
            "interface Handler 9-9",
            "type Id 10-10",
            "method Server::Serve 13-13",
            "function New 14-14",
        ],
    );
}

#[test]
fn java() {
    let text = "package p;\npublic class Tree<T> {\n  private int size, depth;\n  enum Order { PRE, POST { } }\n  public Tree() {}\n  void add(T t) { int local = 1; }\n  interface Visitor { void visit(); int MAX = 1; }\n}\nrecord Point(int x) {}\n";
    check(
        Grammar::Java,
        text,
        &[
            "class Tree 2-8",
            "variable Tree::size 3-3",
            "variable Tree::depth 3-3",
            "enum Tree::Order 4-4",
            "variant Tree::Order::PRE 4-4",
            "variant Tree::Order::POST 4-4",
            "method Tree::Tree 5-5",
            "method Tree::add 6-6",
            "interface Tree::Visitor 7-7",
            "method Tree::Visitor::visit 7-7",
            "variable Tree::Visitor::MAX 7-7",
            "struct Point 9-9",
        ],
    );
}

#[test]
fn code_that_does_not_parse_hides_only_itself() {
    let text = "int first(void) { return 1; }\n@@@ {{{ ???\nint second(void) { return 2; }\n";
    let found = Extractor::new().extract(Grammar::C, text);
    let names: Vec<&str> = found.symbols.iter().map(|symbol| &symbol.name[..]).collect();
    assert!(names.contains(&"first"), "{names:?}");
}

#[test]
fn a_parse_that_takes_too_long_is_cut_and_the_next_one_is_not() {
    let mut extractor = Extractor::new();
    let long = "int f(void) { return (1 + 2) * 3; }\n".repeat(20_000);
    let found = extractor.extract_within(Grammar::C, &long, Duration::ZERO);
    assert_eq!((found.symbols.len(), found.cut), (0, Some(Cut::Time)));
    let found = extractor.extract(Grammar::C, "int g(void) { return 1; }\n");
    assert_eq!((found.symbols.len(), found.symbols[0].line, found.cut), (1, 1, None));
}

#[test]
fn size_and_number_are_bounded() {
    let mut extractor = Extractor::new();
    let line = "#define A_NAME_OF_SOME_LENGTH_THAT_IS_REPEATED 1\n";
    let found = extractor.extract(Grammar::C, &line.repeat(SYMBOL_BYTES_MAX / line.len() + 10));
    assert!(matches!(found.cut, Some(Cut::Size | Cut::Count)));
    let found = extractor.extract(Grammar::C, &"#define A 1\n".repeat(SYMBOLS_PER_FILE_MAX + 10));
    assert_eq!((found.symbols.len(), found.cut), (SYMBOLS_PER_FILE_MAX, Some(Cut::Count)));
    let one_line = "x".repeat(SYMBOL_BYTES_MAX + 1);
    assert_eq!(extractor.extract(Grammar::JavaScript, &one_line).cut, Some(Cut::Size));
}

#[test]
fn deep_nesting_is_no_deep_stack() {
    let mut extractor = Extractor::new();
    for grammar in Grammar::ALL {
        extractor.extract(grammar, &"{".repeat(100_000));
        extractor.extract(grammar, &"((".repeat(50_000));
        extractor.extract(grammar, &"struct a { ".repeat(20_000));
    }
}

#[test]
fn every_grammar_has_the_nodes_that_its_tables_name() {
    for grammar in Grammar::ALL {
        let language = grammar.language();
        for (node, _) in grammar.tables().iter().flat_map(|table| *table).filter(|(node, _)| *node != "ERROR") {
            assert_ne!(language.id_for_node_kind(node, true), 0, "{grammar:?} has no {node}");
        }
    }
}

#[test]
fn kinds_have_names_of_their_own() {
    let mut names: Vec<&str> = SymbolKind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SymbolKind::ALL.len());
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[a-z{}()<>#\"'/*;:,=\\[\\]\n \u{e9}]{0,200}", which in 0..Grammar::ALL.len()) {
        let lines = text.lines().count() as u32;
        let found = Extractor::new().extract(Grammar::ALL[which], &text);
        for symbol in found.symbols {
            prop_assert!(symbol.line >= 1 && symbol.line <= symbol.end_line && symbol.end_line <= lines);
        }
    }
}
