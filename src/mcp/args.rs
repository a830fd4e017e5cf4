//! Arguments of a call. Unknown ones are passed over, `null` is as good as nothing, and a number or a truth that is written as
//! text is taken: models write such things. What is wrong is said with what would be right.

use super::answer::Refusal;
use rmcp::model::JsonObject;
use serde_json::Value;
use std::ops::RangeInclusive;

pub(crate) struct Args(JsonObject);

impl Args {
    pub(crate) fn new(arguments: Option<JsonObject>) -> Args {
        Args(arguments.unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", other)),
        }
    }

    /// A text that has to be there and not empty, under one of these names.
    pub(crate) fn needed(&self, names: &[&str]) -> Result<&str, Refusal> {
        for name in names {
            match self.text(name)? {
                Some("") => return Err(format!("{name}: is empty: give something to look for").into()),
                Some(text) => return Ok(text),
                None => {}
            }
        }
        Err(format!("{}: is missing: give a string", names.first().unwrap_or(&"")).into())
    }

    /// One of `choices`, the first of them when it is not given; letters of either case.
    pub(crate) fn choice(&self, name: &str, choices: &[&'static str]) -> Result<&'static str, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(choices.first().copied().unwrap_or_default()) };
        let found = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text.trim()));
        found.copied().ok_or_else(|| format!("{name}: {text:?} is not known: use one of {}", choices.join(", ")).into())
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, Refusal> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let what = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = match value {
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| usize::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| wrong(name, &what(), value))
    }

    /// A truth.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        Ok(self.maybe_flag(name)?.unwrap_or(default))
    }

    /// A truth, if it is given.
    pub(crate) fn maybe_flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// Texts: an array of them, or one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "strings only", value)))
                .collect(),
            Some(other) => Err(wrong(name, "a string or an array of strings", other)),
        }
    }
}

fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9e15).contains(&number)).then_some(number as u64)
}

fn wrong(name: &str, expected: &str, found: &Value) -> Refusal {
    let mut found = found.to_string();
    if let Some((end, _)) = found.char_indices().nth(60) {
        found.truncate(end);
        found.push('…');
    }
    Refusal::Wrong(format!("{name}: expected {expected}, got {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(value: Value) -> Args {
        Args::new(value.as_object().cloned())
    }

    #[track_caller]
    fn refused<T>(result: Result<T, Refusal>, part: &str) {
        let message = result.err().map(|refusal| refusal.message()).unwrap_or_default();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn what_is_harmless_is_taken() {
        let args = args(json!({"a": "7", "b": 7.0, "c": null, "d": "True", "e": "x", "f": ["x", "y"], "g": "RANK"}));
        for name in ["a", "b"] {
            assert_eq!(args.number(name, 1, 0..=9).ok(), Some(7));
        }
        assert_eq!(args.number("c", 1, 0..=9).ok(), Some(1));
        assert_eq!(args.flag("d", false).ok(), Some(true));
        assert_eq!(
            (args.texts("e").ok(), args.texts("f").ok()),
            (Some(vec!["x".into()]), Some(vec!["x".into(), "y".into()]))
        );
        assert_eq!(args.choice("g", &["search", "rank"]).ok(), Some("rank"));
        assert_eq!(args.needed(&["none", "e"]).ok(), Some("x"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let args =
            args(json!({"a": "7x", "b": -1, "c": 1.5, "d": 10, "e": {}, "f": [1], "g": "no", "h": "x".repeat(99)}));
        for name in ["a", "b", "c", "d", "e", "f"] {
            refused(args.number(name, 1, 0..=9), "a whole number from 0 to 9");
        }
        refused(args.number("h", 1, 0..=9), "…");
        refused(args.flag("a", false), "true or false");
        refused(args.text("e"), "a string");
        refused(args.texts("f"), "strings only");
        refused(args.choice("g", &["search", "rank"]), "search, rank");
        refused(args.needed(&["none", "nothing"]), "none: is missing");
    }
}
