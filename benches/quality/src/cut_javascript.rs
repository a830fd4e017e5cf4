//! Functions of JavaScript and TypeScript under `/** ... */`; a closing brace at the indent of the first line ends them.

use crate::cut::{Function, Reasons, block_comment, bytes, dedent, identifier, indent, skip};

/// Lines that a signature may have.
const SIGNATURE: usize = 20;
const KEYWORDS: [&str; 13] =
    ["if", "for", "while", "switch", "catch", "return", "function", "new", "throw", "typeof", "await", "super", "with"];

pub(crate) fn cut(lines: &[&str], reasons: &mut Reasons) -> Vec<Function> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].trim_start().starts_with("/**") || lines[at].trim_start().starts_with("/**/") {
            at += 1;
            continue;
        }
        let Some(end) = (at..lines.len()).find(|&line| lines[line].contains("*/")) else { break };
        let doc = block_comment(&lines[at..=end]);
        at = end + 1;
        if !lines[end].trim_end().ends_with("*/") {
            continue;
        }
        let mut first = at;
        while lines.get(first).is_some_and(|line| ["//", "@"].iter().any(|mark| line.trim_start().starts_with(mark))) {
            first += 1;
        }
        let Some((name, open)) = lines.get(first).and_then(|line| Some((name(line)?, signature(&lines[first..])?)))
        else {
            continue;
        };
        let open = first + open;
        let depth = indent(lines[first]);
        let after =
            (open + 1..lines.len()).find(|&line| !lines[line].trim().is_empty() && indent(lines[line]) <= depth);
        let Some(close) =
            after.filter(|&line| indent(lines[line]) == depth && lines[line].trim_start().starts_with('}'))
        else {
            skip(reasons, "no extent to tell");
            continue;
        };
        let inner = bytes(lines[open + 1..=close].iter().copied());
        let body = dedent(lines[at..=close].iter().copied());
        at = close + 1;
        if name == "constructor" || doc.lines().any(|line| line.trim_start().starts_with("@constructor")) {
            skip(reasons, "constructor or special method");
        } else {
            found.push(Function { line: first + 1, name: name.to_owned(), doc, body, inner });
        }
    }
    found
}

/// The name of the function that a line begins, if it does.
fn name(line: &str) -> Option<&str> {
    let mut rest = line.trim();
    loop {
        let word = identifier(rest);
        let after = rest[word.len()..].trim_start();
        match word {
            "export" | "default" | "declare" | "async" | "static" | "public" | "private" | "protected" | "override"
            | "readonly" | "get" | "set"
                if !after.starts_with(['(', '=', ':', '<', '.']) =>
            {
                rest = after;
            }
            "function" => return some(identifier(after.trim_start_matches('*').trim_start())),
            "const" | "let" | "var" => return value(after),
            _ => break,
        }
    }
    let rest = rest.trim_start_matches(['*', '#']).trim_start();
    let word = identifier(rest);
    let after = &rest[word.len()..];
    if after.starts_with(['(', '<']) {
        return some(word).filter(|word| !KEYWORDS.contains(word) && is_method(after));
    }
    value(rest)
}

/// The name that `name = function`, `a.name = () => {` and `name: function` give.
fn value(text: &str) -> Option<&str> {
    let (left, right) = text.split_once(" = ").or_else(|| text.split_once(": "))?;
    let path = left.split([':', '<', '?']).next()?.trim();
    let whole = path.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '#'));
    let name = path.rsplit(['.', '#']).next().filter(|_| whole)?;
    let right = right.strip_prefix("async ").unwrap_or(right);
    let arrow = right.starts_with(['(', '<']) || right.contains("=>");
    let code =
        right.starts_with("function") || arrow && !right.contains("})") && !right[..right.len().min(30)].contains("((");
    some(name).filter(|_| code)
}

fn some(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

/// Whether what comes after a name can be the parameters of a method, and not the arguments of a call.
fn is_method(after: &str) -> bool {
    !after.contains("=>") || after.ends_with("{") && !after.contains("=> {")
}

/// The line with the brace that opens a body; it must end the line.
fn signature(lines: &[&str]) -> Option<usize> {
    let (mut depth, mut previous) = (0i32, ' ');
    let mut all = String::new();
    for (index, line) in lines.iter().take(SIGNATURE).enumerate() {
        let code = masked(line);
        let end = code.trim_end();
        for (at, c) in end.char_indices() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                '{' if depth == 0 && at + 1 == end.len() => {
                    // Of an object, a class or a type it would be another sign that stands before the brace.
                    let body = matches!(previous, ')' | '>') || all.contains(')') && previous != '=' && previous != ':';
                    return body.then_some(index);
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 => return None,
                _ => {}
            }
            if !c.is_whitespace() {
                previous = c;
                all.push(c);
            }
        }
        if depth < 0 || line.trim().is_empty() {
            return None;
        }
    }
    None
}

/// A line with spaces for comments and `_` for strings.
fn masked(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) => {
                if c == '\\' {
                    chars.next();
                } else if c == open {
                    quote = None;
                }
                out.push('_');
            }
            None if matches!(c, '"' | '\'' | '`') => {
                quote = Some(c);
                out.push('_');
            }
            None if c == '/' && chars.peek() == Some(&'/') => break,
            None if c == '/' && chars.peek() == Some(&'*') => {
                while let Some(c) = chars.next() {
                    if c == '*' && chars.peek() == Some(&'/') {
                        chars.next();
                        break;
                    }
                }
            }
            None => out.push(if c.is_ascii() { c } else { '_' }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
/** One line. */
export async function* one(a = ")", { b, c } = {}) { // {
  if (a) {
    return "}";
  }
}

/**
 * A class.
 */
export class Two<T> extends One {
  /** Makes one. */
  constructor(a) {
    super(a);
  }

  /**
   * Gets it.
   */
  @memoize()
  // eslint-disable-next-line
  private static async three<T extends keyof Two>(
    a: (x: T) => void,
    b?: string,
  ): Promise<Map<string, T>> {
    /** Nested. */
    const nested = () => {
      a;
    };
  }

  /** An overload. */
  four(a: string): void;
  four(a: any): void {
    a();
  }

  /** An accessor. */
  get five(): number {
    return 5;
  }

  /** Calls. */
  describe('it', () => {
    a();
  });
}

/** An arrow. */
const six = async (a, b) => {
  return a;
};

/** An object. */
const seven = {
  a: 1,
};

/** Of a prototype. */
ns.Eight.prototype.eight = function (
  a
) {
  return a;
};

/** A property. */
  nine: function(a) {
    return a;
  },

/** A typed arrow. */
export const ten: (a: number) => number = (a) => {
  return a;
};

/** Called at once. */
const eleven = (function () {
  return 1;
})();

/** Broken. */
function twelve() {
 a();
b();
}
"#;

    #[test]
    fn functions_methods_and_arrows() {
        for source in [SOURCE.to_owned(), SOURCE.replace('\n', "\r\n")] {
            let mut reasons = Reasons::new();
            let found = cut(&source.lines().collect::<Vec<_>>(), &mut reasons);
            let names: Vec<&str> = found.iter().map(|function| &function.name[..]).collect();
            assert_eq!(names, ["one", "three", "five", "six", "eight", "nine", "ten"]);
            assert_eq!(found[0].doc.trim(), "One line.");
            assert!(found[0].body.ends_with("  }\n}\n"), "{}", found[0].body);
            assert!(found[1].body.starts_with("@memoize()\n") && found[1].body.ends_with("  };\n}\n"));
            assert_eq!(found[1].line, 23);
            assert_eq!(reasons["constructor or special method"], 1);
            assert_eq!(reasons["no extent to tell"], 1);
        }
    }
}
