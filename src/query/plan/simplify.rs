//! Keeping plans small: what follows from something else goes, and so does what hardly selects.

use std::collections::BTreeMap;

use super::{Fragment, Plan, Shape, contains};

/// How many children of a node are compared with each other. More conjuncts are dropped, more alternatives kept as is.
const MAX_COMPARED: usize = 256;

/// How many conjuncts the branches of a plan with too many nodes may keep, tried in this order.
const KEPT_CONJUNCTS: [usize; 3] = [3, 2, 1];

/// To which lengths fragments are cut when that is not enough. Single bytes would select nothing.
const CUT_BYTES: [usize; 4] = [8, 4, 3, 2];

impl Plan {
    /// The conjunction, simplified.
    pub(super) fn and(plans: Vec<Plan>) -> Plan {
        let mut children = Vec::new();
        for plan in plans {
            match plan {
                Plan::All => {}
                Plan::None => return Plan::None,
                Plan::And(inner) => children.extend(inner),
                other => children.push(other),
            }
        }
        order(&mut children);
        children.truncate(MAX_COMPARED);
        if children.iter().any(|child| !is_weak(child)) {
            children.retain(|child| !is_weak(child));
        }
        // From the worst on: a child that follows from another is never the better one of the two.
        for index in (0..children.len()).rev() {
            let redundant = |(other, child): (usize, &Plan)| other != index && implies(child, &children[index]);
            if children.iter().enumerate().any(redundant) {
                children.remove(index);
            }
        }
        wrap(children, Plan::All, Plan::And)
    }

    /// The disjunction, simplified.
    pub(super) fn or(plans: Vec<Plan>) -> Plan {
        let mut children = Vec::new();
        for plan in plans {
            match plan {
                Plan::All => return Plan::All,
                Plan::None => {}
                Plan::Or(inner) => children.extend(inner),
                other => children.push(other),
            }
        }
        order(&mut children);
        if children.len() <= MAX_COMPARED {
            for index in (0..children.len()).rev() {
                let redundant = |(other, child): (usize, &Plan)| other != index && implies(&children[index], child);
                if children.iter().enumerate().any(redundant) {
                    children.remove(index);
                }
            }
        }
        factor(children)
    }
}

/// The disjunction of `children`, with what several of them require asked for once.
fn factor(mut children: Vec<Plan>) -> Plan {
    while children.len() > 1 && children.len() <= MAX_COMPARED {
        let Some(shared) = most_shared(&children) else { break };
        let (with, mut without): (Vec<Plan>, Vec<Plan>) =
            children.into_iter().partition(|child| conjuncts(child).contains(&shared));
        let rest =
            with.iter().map(|child| Plan::and(conjuncts(child).iter().filter(|c| **c != shared).cloned().collect()));
        let rest = Plan::or(rest.collect());
        match Plan::and(vec![shared, rest]) {
            Plan::Or(inner) => without.extend(inner),
            other => without.push(other),
        }
        children = without;
    }
    order(&mut children);
    wrap(children, Plan::None, Plan::Or)
}

/// The conjunct that most of the children have, if at least two have it.
fn most_shared(children: &[Plan]) -> Option<Plan> {
    let mut counts: BTreeMap<&Plan, usize> = BTreeMap::new();
    for conjunct in children.iter().flat_map(conjuncts) {
        *counts.entry(conjunct).or_default() += 1;
    }
    let (shared, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > 1).then(|| shared.clone())
}

fn conjuncts(plan: &Plan) -> &[Plan] {
    match plan {
        Plan::And(children) => children,
        other => std::slice::from_ref(other),
    }
}

/// A node of `children`: none of them is `neutral`, one is itself.
fn wrap(mut children: Vec<Plan>, neutral: Plan, node: fn(Vec<Plan>) -> Plan) -> Plan {
    match (children.len(), children.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            children.push(last);
            node(children)
        }
        (_, None) => neutral,
    }
}

/// The order of evaluation, without duplicates.
fn order(children: &mut Vec<Plan>) {
    children.sort_by_cached_key(|child| (child.cost_hint(), child.clone()));
    children.dedup();
}

/// Whether a plan selects so little that it is not worth its evaluation next to one that is not weak: some fragment of
/// one byte that is not a whole term.
fn is_weak(plan: &Plan) -> bool {
    match plan {
        Plan::All => true,
        Plan::None => false,
        Plan::Fragment(fragment) => fragment.shape != Shape::Exact && fragment.bytes.len() < 2,
        Plan::And(children) => children.iter().all(is_weak),
        Plan::Or(children) => children.iter().any(is_weak),
    }
}

/// Whether each file that satisfies `plan` is known to satisfy `other`.
fn implies(plan: &Plan, other: &Plan) -> bool {
    match (plan, other) {
        (Plan::None, _) | (_, Plan::All) => true,
        (_, Plan::And(others)) => others.iter().all(|other| implies(plan, other)),
        (Plan::Or(plans), _) => plans.iter().all(|plan| implies(plan, other)),
        (Plan::And(plans), Plan::Or(others)) => {
            plans.iter().any(|plan| implies(plan, other)) || others.iter().any(|other| implies(plan, other))
        }
        (_, Plan::Or(others)) => others.iter().any(|other| implies(plan, other)),
        (Plan::And(plans), _) => plans.iter().any(|plan| implies(plan, other)),
        (Plan::Fragment(fragment), Plan::Fragment(other)) => fragment_implies(fragment, other),
        (Plan::All, _) | (_, Plan::None) => false,
    }
}

/// Whether each term that satisfies `fragment` satisfies `other`.
fn fragment_implies(fragment: &Fragment, other: &Fragment) -> bool {
    let (bytes, wanted) = (&fragment.bytes, &other.bytes);
    match (fragment.shape, other.shape) {
        (Shape::Exact, _) => other.accepts(bytes),
        (Shape::Prefix, Shape::Prefix) => bytes.starts_with(wanted),
        (Shape::Suffix, Shape::Suffix) => bytes.ends_with(wanted),
        (_, Shape::Substring) => contains(bytes, wanted),
        (_, Shape::Exact | Shape::Prefix | Shape::Suffix) => false,
    }
}

/// A plan of at most `max_nodes` nodes that is satisfied wherever `plan` is: first the worse conjuncts go, then fragments
/// are cut shorter until enough of them are the same. When even that is too much, any file may be a candidate.
pub(super) fn coarsen(plan: Plan, max_nodes: usize) -> Plan {
    if plan.node_count() <= max_nodes {
        return plan;
    }
    if let Plan::And(children) = plan {
        return coarsen_and(children, max_nodes);
    }
    let fewer = KEPT_CONJUNCTS.iter().map(|&count| best_conjuncts(&plan, count));
    let shorter = CUT_BYTES.iter().map(|&length| cut(&best_conjuncts(&plan, 1), length));
    fewer.chain(shorter).find(|plan| plan.node_count() <= max_nodes).unwrap_or(Plan::All)
}

/// The best children that fit. One alone may have to be coarsened.
fn coarsen_and(children: Vec<Plan>, max_nodes: usize) -> Plan {
    let mut kept = Vec::new();
    let mut nodes = 1;
    for child in &children {
        let count = child.node_count();
        if nodes + count <= max_nodes {
            nodes += count;
            kept.push(child.clone());
        }
    }
    if kept.is_empty() {
        kept.extend(children.into_iter().next().map(|child| coarsen(child, max_nodes)));
    }
    Plan::and(kept)
}

/// The plan with only the best `count` children of each `And`.
fn best_conjuncts(plan: &Plan, count: usize) -> Plan {
    let best = |children: &[Plan]| children.iter().map(|child| best_conjuncts(child, count)).collect();
    match plan {
        Plan::And(children) => Plan::and(best(&children[..count.min(children.len())])),
        Plan::Or(children) => Plan::or(best(children)),
        other => other.clone(),
    }
}

/// The plan with fragments of at most `length` bytes.
fn cut(plan: &Plan, length: usize) -> Plan {
    match plan {
        Plan::Fragment(fragment) if fragment.bytes.len() > length => Plan::Fragment(cut_fragment(fragment, length)),
        Plan::And(children) => Plan::and(children.iter().map(|child| cut(child, length)).collect()),
        Plan::Or(children) => Plan::or(children.iter().map(|child| cut(child, length)).collect()),
        other => other.clone(),
    }
}

fn cut_fragment(fragment: &Fragment, length: usize) -> Fragment {
    let bytes = &fragment.bytes;
    match fragment.shape {
        Shape::Exact | Shape::Prefix => Fragment { shape: Shape::Prefix, bytes: bytes[..length].to_vec() },
        Shape::Suffix => Fragment { shape: Shape::Suffix, bytes: bytes[bytes.len() - length..].to_vec() },
        Shape::Substring => Fragment { shape: Shape::Substring, bytes: bytes[..length].to_vec() },
    }
}
