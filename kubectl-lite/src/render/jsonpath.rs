//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range …}…{end}`,
//! quoted literals. Never reports a missing field: it prints as nothing.
//!
//! A small evaluator of its own: what kubectl calls JSONPath (templates, `range`,
//! escaped dots, negative slices from the end) is not what RFC 9535 describes.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Node>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Query(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: back to the whole object.
    Root,
    Field(String),
    Fields(Vec<String>),
    Wildcard,
    Recursive,
    Slice(Option<i64>, Option<i64>, i64),
    Indexes(Vec<i64>),
    Filter(Vec<Step>, Option<(Comparison, Operand)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Query(Vec<Step>),
}

impl Template {
    /// Reads a template. The error names what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let nodes = parse_nodes(&mut rest, false)?;
        Ok(Self(nodes))
    }

    /// Reads what stands for one expression, as in `custom-columns`: braces and
    /// the leading dot may be left out.
    pub fn parse_relaxed(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let bare = bare.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or(bare);
        let bare = bare.strip_prefix('$').unwrap_or(bare);
        let dot = if bare.starts_with(['.', '[']) { "" } else { "." };
        Self::parse(&format!("{{{dot}{bare}}}"))
    }

    /// The text for `value`.
    pub fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render(&self.0, value, value, &mut out);
        out
    }

    /// Everything the template's expressions select in `value`.
    pub fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let queries = self.0.iter().filter_map(|node| match node {
            Node::Query(steps) => Some(evaluate(steps, value, value)),
            _ => None,
        });
        queries.flatten().collect()
    }
}

fn render(nodes: &[Node], root: &Value, value: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Query(steps) => {
                let found = evaluate(steps, root, value);
                let texts: Vec<_> = found.into_iter().map(plain).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(steps, body) => {
                for item in evaluate(steps, root, value) {
                    render(body, root, item, out);
                }
            }
        }
    }
}

/// A value as text: strings bare, the rest as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn parse_nodes(rest: &mut &str, inside_range: bool) -> Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            nodes.push(Node::Text((*rest).to_owned()));
            *rest = "";
            break;
        };
        if open > 0 {
            nodes.push(Node::Text(rest[..open].to_owned()));
        }
        let close = closing(&rest[open..]).ok_or("unclosed action: a `}` is missing")?;
        let action = rest[open + 1..open + close].trim();
        *rest = &rest[open + close + 1..];
        if action == "end" {
            if inside_range {
                return Ok(nodes);
            }
            return Err("not in range, nothing to end".to_owned());
        }
        if let Some(path) = action.strip_prefix("range ") {
            let steps = parse_steps(path.trim())?;
            nodes.push(Node::Range(steps, parse_nodes(rest, true)?));
        } else {
            for part in parts(action) {
                let part = part.as_str();
                nodes.push(match part.chars().next() {
                    Some('"' | '\'') => Node::Text(unquote(part)?),
                    _ => Node::Query(parse_steps(part)?),
                });
            }
        }
    }
    if inside_range {
        return Err("unclosed range: an `{end}` is missing".to_owned());
    }
    Ok(nodes)
}

/// Where the brace that opens `text` is closed, quotes respected.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, symbol) in text.char_indices() {
        match (quote, symbol) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), it) if it == open => quote = None,
            (None, '"' | '\'') => quote = Some(symbol),
            (None, '}') => return Some(index),
            _ => {}
        }
    }
    None
}

/// The whitespace-separated parts of an action: `.a "x" .b`.
fn parts(action: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quote, mut depth, mut escaped) = (None, 0_usize, false);
    for symbol in action.chars() {
        let split = quote.is_none() && depth == 0 && !escaped && symbol.is_whitespace();
        if split {
            parts.push(String::new());
            continue;
        }
        match (quote, symbol) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), it) if it == open => quote = None,
            (None, '"' | '\'') => quote = Some(symbol),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(symbol);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn unquote(text: &str) -> Result<String, String> {
    let quote = text.chars().next().unwrap_or('"');
    let inner = text.strip_prefix(quote).and_then(|it| it.strip_suffix(quote));
    let inner = inner.ok_or_else(|| format!("unterminated quoted string {text}"))?;
    let mut out = String::new();
    let mut symbols = inner.chars();
    while let Some(symbol) = symbols.next() {
        if symbol != '\\' {
            out.push(symbol);
            continue;
        }
        match symbols.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        match symbol {
            '$' => {
                steps.push(Step::Root);
                rest = &rest[1..];
            }
            '@' => rest = &rest[1..],
            '.' if rest.starts_with("..") => {
                steps.push(Step::Recursive);
                rest = &rest[1..];
                if rest.starts_with(".[") {
                    rest = &rest[1..];
                }
            }
            '.' => rest = field(&rest[1..], &mut steps),
            '[' => {
                let end = bracket(rest).ok_or_else(|| format!("unterminated array in {text:?}"))?;
                steps.push(subscript(rest[1..end].trim())?);
                rest = &rest[end + 1..];
            }
            _ if steps.is_empty() => rest = field(rest, &mut steps),
            other => return Err(format!("unrecognized character in action: {other:?}")),
        }
    }
    Ok(steps)
}

/// Reads a field name up to the next step; `\.` is a dot of the name.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let mut name = String::new();
    let mut symbols = text.char_indices();
    let mut end = text.len();
    while let Some((index, symbol)) = symbols.next() {
        match symbol {
            '\\' => name.extend(symbols.next().map(|(_, it)| it)),
            '.' | '[' => {
                end = index;
                break;
            }
            other => name.push(other),
        }
    }
    match name.as_str() {
        "" => {}
        "*" => steps.push(Step::Wildcard),
        _ => steps.push(Step::Field(name)),
    }
    &text[end..]
}

fn bracket(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (index, symbol) in text.char_indices() {
        match (quote, symbol) {
            (Some(open), it) if it == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(symbol),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|it| it.strip_suffix(')')) {
        return parse_filter(filter.trim());
    }
    if text.starts_with(['\'', '"']) {
        let names: Result<Vec<_>, _> = text.split(',').map(|it| unquote(it.trim())).collect();
        return names.map(Step::Fields);
    }
    let number = |it: &str| -> Result<Option<i64>, String> {
        let it = it.trim();
        if it.is_empty() {
            return Ok(None);
        }
        it.parse().map(Some).map_err(|_| format!("invalid array index {it}"))
    };
    if text.contains(':') {
        let bounds: Result<Vec<_>, _> = text.split(':').map(number).collect();
        let bounds = bounds?;
        let step = bounds.get(2).copied().flatten().unwrap_or(1);
        if step < 1 {
            return Err("step must be > 0".to_owned());
        }
        return Ok(Step::Slice(bounds[0], bounds[1], step));
    }
    let indexes: Result<Vec<_>, _> = text.split(',').map(number).collect();
    let indexes: Vec<_> = indexes?.into_iter().flatten().collect();
    if indexes.is_empty() {
        return Err("invalid array index: empty".to_owned());
    }
    Ok(Step::Indexes(indexes))
}

fn parse_filter(text: &str) -> Result<Step, String> {
    const OPERATORS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessEqual),
        (">=", Comparison::GreaterEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let found = OPERATORS
        .iter()
        .filter_map(|(sign, it)| text.find(sign).map(|at| (at, *sign, *it)))
        .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
    let Some((at, sign, comparison)) = found else {
        return Ok(Step::Filter(parse_steps(text)?, None));
    };
    let left = parse_steps(text[..at].trim())?;
    let right = text[at + sign.len()..].trim();
    let operand = match right.chars().next() {
        Some('"' | '\'') => Operand::Literal(unquote(right)?.into()),
        Some('@' | '$') => Operand::Query(parse_steps(right)?),
        _ => {
            let literal = serde_json::from_str(right);
            Operand::Literal(literal.map_err(|_| format!("unrecognized operand {right:?}"))?)
        }
    };
    Ok(Step::Filter(left, Some((comparison, operand))))
}

fn evaluate<'a>(steps: &[Step], root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    let mut current = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in current {
            advance(step, root, value, &mut next);
        }
        current = next;
    }
    current
}

fn advance<'a>(step: &Step, root: &'a Value, value: &'a Value, next: &mut Vec<&'a Value>) {
    match step {
        Step::Root => next.push(root),
        Step::Field(name) => next.extend(value.get(name)),
        Step::Fields(names) => next.extend(names.iter().filter_map(|name| value.get(name))),
        Step::Wildcard => next.extend(children(value)),
        Step::Recursive => descend(value, next),
        Step::Indexes(indexes) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            for index in indexes {
                next.extend(from_end(*index, items.len()).and_then(|it| items.get(it)));
            }
        }
        Step::Slice(start, end, step) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let bound = |it: Option<i64>, otherwise| {
                it.map_or(otherwise, |it| from_end(it, items.len()).unwrap_or(0))
            };
            let end = bound(*end, items.len()).min(items.len());
            let start = bound(*start, 0).min(end);
            let step = usize::try_from(*step).unwrap_or(1);
            next.extend(items[start..end].iter().step_by(step));
        }
        Step::Filter(left, test) => {
            next.extend(children(value).filter(|item| matches(left, test.as_ref(), root, item)));
        }
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn descend<'a>(value: &'a Value, next: &mut Vec<&'a Value>) {
    next.push(value);
    for child in children(value) {
        descend(child, next);
    }
}

fn from_end(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn matches(
    left: &[Step],
    test: Option<&(Comparison, Operand)>,
    root: &Value,
    item: &Value,
) -> bool {
    let found = evaluate(left, root, item);
    let Some((comparison, operand)) = test else {
        return !found.is_empty();
    };
    let right = match operand {
        Operand::Literal(value) => vec![value],
        Operand::Query(steps) => evaluate(steps, root, item),
    };
    let (Some(left), Some(right)) = (found.first(), right.first()) else {
        return false;
    };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => match (left.as_str(), right.as_str()) {
            (Some(left), Some(right)) => Some(left.cmp(right)),
            _ => (left == right).then_some(std::cmp::Ordering::Equal),
        },
    };
    match comparison {
        Comparison::Equal => order.is_some_and(|it| it.is_eq()),
        Comparison::NotEqual => order.is_none_or(|it| it.is_ne()),
        Comparison::Less => order.is_some_and(|it| it.is_lt()),
        Comparison::LessEqual => order.is_some_and(|it| it.is_le()),
        Comparison::Greater => order.is_some_and(|it| it.is_gt()),
        Comparison::GreaterEqual => order.is_some_and(|it| it.is_ge()),
    }
}
