//! Types that hold themselves: Google follows references in JSON Schema only where a value may
//! come to an end, and says "ref loops are only supported if they include optional or nullable
//! property values, or a potentially-zero-length array items".

use std::collections::HashMap;

use super::{
    reference::{self, Named},
    tree::{Map, Value},
};

/// Whether references lead back to where they stand by nothing but what a value has to have.
pub(super) fn is_endless<'v>(root: &'v Value<'v>, named: &Named<'v>) -> bool {
    let mut graph = Graph {
        root,
        named,
        nodes: HashMap::new(),
        open: Vec::new(),
        edges: Vec::new(),
    };
    let mut values = vec![root];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(members) => {
                graph.node(members);
                values.extend(members.values());
            }
            Value::Array(elements) => values.extend(elements),
            _ => {}
        }
    }
    while let Some(target) = graph.open.pop() {
        let mut needed = Vec::new();
        graph.needs(target, &mut needed);
        graph.edges.push((graph.nodes[&address(target)], needed));
    }
    graph.has_loop()
}

/// What is referred to, and what of it each of them needs.
struct Graph<'n, 'v> {
    root: &'v Value<'v>,
    named: &'n Named<'v>,
    /// By their addresses, since the same schema has many names.
    nodes: HashMap<usize, usize>,
    /// Those that were not looked into.
    open: Vec<&'v Value<'v>>,
    edges: Vec<(usize, Vec<usize>)>,
}

fn address(value: &Value<'_>) -> usize {
    std::ptr::from_ref(value).addr()
}

impl<'v> Graph<'_, 'v> {
    /// What the reference of a schema leads to.
    fn node(&mut self, schema: &'v Map<'v>) -> Option<usize> {
        let reference = schema.get("$ref")?.as_str()?;
        let target = reference::resolve(self.root, self.named, reference)?;
        let next = self.nodes.len();
        let node = *self.nodes.entry(address(target)).or_insert(next);
        if node == next {
            self.open.push(target);
        }
        Some(node)
    }

    /// Gathers the references that every value of a schema has to follow.
    fn needs(&mut self, schema: &'v Value<'v>, needed: &mut Vec<usize>) {
        let Value::Object(schema) = schema else {
            return;
        };
        needed.extend(self.node(schema));
        let lists = ["allOf", "anyOf", "oneOf", "prefixItems"];
        for keyword in lists {
            // Google counts each of several alternatives, unless one is null.
            for part in elements(schema.get(keyword)) {
                self.needs(part, needed);
            }
        }
        if schema.get("minItems").and_then(Value::as_f64) > Some(0.0)
            && let Some(items) = schema.get("items")
        {
            self.needs(items, needed);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = elements(schema.get("required")).filter_map(Value::as_str);
        for property in required.filter_map(|name| properties?.get(name)) {
            if !is_nullable(property) {
                self.needs(property, needed);
            }
        }
    }

    /// Takes away what needs nothing, until nothing is left or only what needs itself.
    fn has_loop(&self) -> bool {
        let mut needing: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut missing = vec![0_usize; self.nodes.len()];
        for (node, needed) in &self.edges {
            missing[*node] = needed.len();
            for other in needed {
                needing[*other].push(*node);
            }
        }
        let mut free: Vec<usize> = (0..missing.len())
            .filter(|node| missing[*node] == 0)
            .collect();
        let mut taken = 0;
        while let Some(node) = free.pop() {
            taken += 1;
            for other in &needing[node] {
                missing[*other] -= 1;
                if missing[*other] == 0 {
                    free.push(*other);
                }
            }
        }
        taken < self.nodes.len()
    }
}

fn elements<'v>(value: Option<&'v Value<'v>>) -> impl Iterator<Item = &'v Value<'v>> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Whether a value may be null instead.
fn is_nullable(schema: &Value<'_>) -> bool {
    let is_null = |schema: &Value<'_>| schema.get("type").is_some_and(|kind| kind.says("null"));
    let unions = ["anyOf", "oneOf"].into_iter();
    elements(schema.get("type")).any(|kind| kind.says("null"))
        || unions
            .flat_map(|keyword| elements(schema.get(keyword)))
            .any(is_null)
}
