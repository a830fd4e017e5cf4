//! The name that a search for definitions asks for: which names fit it, how well, and which files may hold one. Pure.

use super::plan::{Fragment, Limits, Plan, Planned, Shape, plan_literal};
use crate::symbols::Stored;
use crate::text::runs::{RunMasks, is_run_byte};

/// Shorter humps are in most files.
const HUMP_LOOKED_UP_MIN: usize = 3;

/// How a name fits what was asked for. Later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Every hump begins a part of the name, in order: `schTim` and `st` fit `schedule_timeout`.
    Humps,
    Prefix,
    /// But for upper and lower case.
    OtherCase,
    Exact,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As typed, without container and star.
    pub(super) name: Vec<u8>,
    lowered: Vec<u8>,
    humps: Vec<Vec<u8>>,
    /// What the symbol has to belong to: the end of its container.
    container: Option<Vec<u8>>,
    /// A star at the end: names that begin so, and no others.
    pub(super) prefix: bool,
}

impl Wanted {
    /// `name`, `name*`, `Container::name` or `Container.name`. `None` when there is no name in it.
    pub(super) fn parse(pattern: &str) -> Option<Wanted> {
        let pattern = pattern.trim();
        let (container, name) = match pattern.rsplit_once("::").or_else(|| pattern.rsplit_once('.')) {
            Some((container, name)) if !container.is_empty() => (Some(container), name),
            _ => (None, pattern),
        };
        let (name, prefix) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        let container = container.map(|container| container.replace('.', "::").into_bytes());
        let lowered = name.to_ascii_lowercase().into_bytes();
        let humps = parts(name.as_bytes()).map(|part| part.to_ascii_lowercase()).collect();
        let wanted = Wanted { name: name.into(), lowered, humps, container, prefix };
        (!wanted.name.is_empty() || (wanted.prefix && wanted.container.is_some())).then_some(wanted)
    }

    pub(super) fn fits(&self, symbol: &Stored<'_>) -> Option<Fit> {
        let fit = if self.prefix { self.begins(symbol.name).then_some(Fit::Prefix) } else { self.fit(symbol.name) };
        let belongs = |container: &Vec<u8>| {
            let rest = symbol.container.strip_suffix(&container[..]);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"::"))
        };
        fit.filter(|_| self.container.as_ref().is_none_or(belongs))
    }

    fn fit(&self, name: &[u8]) -> Option<Fit> {
        if name == self.name {
            return Some(Fit::Exact);
        }
        if name.eq_ignore_ascii_case(&self.lowered) {
            return Some(Fit::OtherCase);
        }
        if self.begins(name) {
            return Some(Fit::Prefix);
        }
        self.fits_humps(name).then_some(Fit::Humps)
    }

    fn begins(&self, name: &[u8]) -> bool {
        name.get(..self.lowered.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.lowered))
    }

    /// The first hump begins the first part; parts may be passed over after that.
    fn fits_humps(&self, name: &[u8]) -> bool {
        let [first, later @ ..] = &self.humps[..] else { return false };
        let begins = |part: &[u8], hump: &[u8]| part.get(..hump.len()).is_some_and(|s| s.eq_ignore_ascii_case(hump));
        // One hump is a prefix, which was looked for.
        if later.is_empty() || !name.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&first[0]) || *byte == b'_') {
            return false;
        }
        let mut parts = parts(name);
        parts.next().is_some_and(|part| begins(part, first))
            && later.iter().all(|hump| parts.any(|part| begins(part, hump)))
    }

    /// The runs of the name; the last one has this shape if nothing follows it.
    fn runs(&self, last: Shape) -> Vec<Plan> {
        let mut masks = RunMasks::default();
        masks.classify(&self.lowered);
        let mut fragments = Vec::new();
        masks.for_each_run(|start, end| {
            let shape = if end == self.lowered.len() { last } else { Shape::Exact };
            fragments.push(Plan::Fragment(Fragment { shape, bytes: self.lowered[start..end].to_vec() }));
        });
        fragments
    }

    /// Which files may define a name that begins so, or whose parts begin with the humps.
    pub(super) fn wide_plan(&self) -> Plan {
        let beginning = self.runs(Shape::Prefix);
        let is_run = |hump: &Vec<u8>| hump.iter().all(|&byte| is_run_byte(byte));
        if beginning.is_empty() || !self.humps.iter().all(is_run) {
            return Plan::All;
        }
        let beginning = Plan::And(beginning);
        let [first, later @ ..] = &self.humps[..] else { return beginning };
        if self.prefix || later.is_empty() {
            return beginning;
        }
        // A part may begin within a run; only the first is sure to begin one.
        let fragment = |shape, hump: &Vec<u8>| Plan::Fragment(Fragment { shape, bytes: hump.clone() });
        let long = later.iter().filter(|hump| hump.len() >= HUMP_LOOKED_UP_MIN);
        let humps =
            [fragment(Shape::Prefix, first)].into_iter().chain(long.map(|hump| fragment(Shape::Substring, hump)));
        Plan::Or(vec![beginning, Plan::And(humps.collect())])
    }

    /// Which files may define exactly this name.
    pub(super) fn plan(&self) -> Planned {
        let fragments = self.runs(Shape::Exact);
        let literal = plan_literal(&self.name, true, &Limits { odd_runs: true, ..Limits::default() });
        // An operator has no run.
        if fragments.is_empty() { literal } else { Planned { plan: Plan::And(fragments), ..literal } }
    }
}

/// The parts of an identifier: `_` ends one, and so does a change to upper case.
fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|&byte| byte != b'_')?;
        let part = &rest[start..];
        let at_boundary = |at: &usize| {
            let (before, here) = (part[at - 1], part[*at]);
            let next_is_lower = part.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            here == b'_'
                || (here.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next_is_lower))
                || (here.is_ascii_digit() != before.is_ascii_digit())
        };
        let end = (1..part.len()).find(at_boundary).unwrap_or(part.len());
        rest = &part[end..];
        Some(&part[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::SymbolKind;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, container: &str, name: &str, expect: Option<Fit>) {
        let symbol = Stored {
            name: name.as_bytes(),
            kind: SymbolKind::Function,
            line: 1,
            end_line: 1,
            container: container.as_bytes(),
        };
        assert_eq!(Wanted::parse(pattern).unwrap().fits(&symbol), expect, "{pattern} {container}::{name}");
    }

    #[test]
    fn names_fit_as_a_whole_by_their_beginning_and_by_humps() {
        check("schedule_timeout", "", "schedule_timeout", Some(Fit::Exact));
        check("Schedule_Timeout", "", "schedule_timeout", Some(Fit::OtherCase));
        check("schedule_", "", "schedule_timeout", Some(Fit::Prefix));
        check("SCHED", "", "schedule_timeout", Some(Fit::Prefix));
        check("schTim", "", "schedule_timeout", Some(Fit::Humps));
        check("sT", "", "scheduleTimeout", Some(Fit::Humps));
        check("sch_tim", "", "ScheduleHrTimeout", Some(Fit::Humps));
        check("sch_tim", "", "__schedule_timeout", Some(Fit::Humps));
        check("hS", "", "HTTPServer", Some(Fit::Humps));
        check("x2", "", "x86_2", Some(Fit::Humps));
        check("tS", "", "schedule_timeout", None);
        check("edule", "", "schedule_timeout", None);
        check("timSch", "", "timeout", None);
        check("schedule_timeout", "", "schedule", None);
    }

    #[test]
    fn a_star_asks_for_beginnings_only() {
        check("schTim*", "", "schedule_timeout", None);
        check("sched*", "", "schedule_timeout", Some(Fit::Prefix));
        check("sched*", "", "sched", Some(Fit::Prefix));
    }

    #[test]
    fn containers_are_compared_from_their_end() {
        check("Socket::send", "net::Socket", "send", Some(Fit::Exact));
        check("net.Socket.send", "net::Socket", "send", Some(Fit::Exact));
        check("Socket::send", "net::WebSocket", "send", None);
        check("Socket::send", "", "send", None);
        check("Socket::*", "Socket", "send", Some(Fit::Prefix));
        assert_eq!(Wanted::parse(" "), None);
        assert_eq!(Wanted::parse("*"), None);
    }

    proptest! {
        /// Whatever fits is in a file that the plan names.
        #[test]
        fn plans_are_sound(pattern in "_{0,2}[a-dA-D0-2_]{1,8}\\*?", name in "_{0,2}[a-dA-D0-2_]{1,14}") {
            let Some(wanted) = Wanted::parse(&pattern) else { return Ok(()) };
            let stored = Stored {
                name: name.as_bytes(),
                kind: SymbolKind::Function,
                line: 1,
                end_line: 1,
                container: b"",
            };
            let Some(fit) = wanted.fits(&stored) else { return Ok(()) };
            let lowered = name.to_ascii_lowercase();
            let terms: Vec<&str> = lowered.split('_').filter(|run| !run.is_empty()).collect();
            let has = |fragment: &Fragment| terms.iter().any(|term| fragment.accepts(term.as_bytes()));
            prop_assert!(terms.is_empty() || wanted.wide_plan().matches(&has), "{fit:?} {}", wanted.wide_plan());
            if fit >= Fit::OtherCase && !terms.is_empty() {
                prop_assert!(wanted.plan().plan.matches(&has));
            }
        }
    }

    #[test]
    fn exact_names_are_found_by_their_runs() {
        assert_eq!(
            Wanted::parse("schedule_timeout").unwrap().plan().plan.to_string(),
            r#"AND(exact:"schedule", exact:"timeout")"#
        );
    }
}
