//! Reads templates: text with expressions in braces. What is accepted and how a refusal reads is as
//! with kubectl, but for a `range` that is never ended, which it runs twice.

use jsonpath_rust::parser::model::{JpQuery, Segment, Selector};
use serde_json::{Number, Value};

use super::step::{Slice, Step};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// An expression, or text.
    Action(Vec<Step>),
    /// What is repeated for each value of an expression.
    Range(Vec<Step>, Vec<Node>),
}

type Parsed<T = ()> = Result<T, String>;

/// Reads a template.
pub fn template(text: &str) -> Parsed<Vec<Node>> {
    let mut rest = text;
    let mut open: Vec<Vec<Step>> = Vec::new();
    let mut levels = vec![Vec::new()];
    while !rest.is_empty() {
        let (literal, action) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        let mut nodes = Vec::new();
        if !literal.is_empty() {
            nodes.push(Node::Action(vec![Step::Literal(literal.into())]));
        }
        rest = action;
        if let Some(inside) = action.strip_prefix('{') {
            rest = inside;
            let mut steps = self::action(&mut rest)?;
            match steps.first() {
                Some(Step::Word(word)) if word == "range" => {
                    levels.last_mut().into_iter().for_each(|it| it.append(&mut nodes));
                    open.push(steps.split_off(1));
                    levels.push(Vec::new());
                }
                Some(Step::Word(word)) if word == "end" && !open.is_empty() => {
                    let mut body = levels.pop().unwrap_or_default();
                    body.append(&mut nodes);
                    nodes.push(Node::Range(open.pop().unwrap_or_default(), body));
                }
                _ => nodes.push(Node::Action(steps)),
            }
        }
        levels.last_mut().into_iter().for_each(|it| it.append(&mut nodes));
    }
    if !open.is_empty() {
        return Err("unclosed range: an {end} is missing".to_owned());
    }
    Ok(levels.pop().unwrap_or_default())
}

/// Reads the steps up to the closing brace, and drops that.
fn action(rest: &mut &str) -> Parsed<Vec<Step>> {
    let mut steps = Vec::new();
    loop {
        let symbol = rest.chars().next().ok_or("unclosed action")?;
        match symbol {
            '}' => {
                *rest = &rest[1..];
                return Ok(steps);
            }
            '[' if rest.starts_with("[?(") => steps.push(filter(rest)?),
            '.' if rest.starts_with("..") => {
                if steps.last() == Some(&Step::Descend) {
                    return Err("invalid multiple recursive descent".to_owned());
                }
                *rest = &rest[2..];
                steps.push(Step::Descend);
                if rest.starts_with(is_word) {
                    field(rest, &mut steps);
                }
            }
            '\r' | '\n' => return Err("unclosed action".to_owned()),
            // `$` is the current object, as `@`.
            ' ' | '@' | '$' => *rest = &rest[1..],
            '[' => array(rest, &mut steps)?,
            '"' | '\'' => steps.push(Step::Literal(quoted(rest, symbol)?.into())),
            '.' => {
                *rest = &rest[1..];
                field(rest, &mut steps);
            }
            '+' | '-' | '0'..='9' => steps.push(Step::Literal(number(rest)?)),
            _ if is_word(symbol) => steps.push(match cut(rest, rest.find(is_terminator)) {
                "true" => Step::Literal(Value::Bool(true)),
                "false" => Step::Literal(Value::Bool(false)),
                word => Step::Word(word.to_owned()),
            }),
            _ => {
                let code = u32::from(symbol);
                return Err(format!("unrecognized character in action: U+{code:04X} '{symbol}'"));
            }
        }
    }
}

/// Cuts off what is before `end`; all without one.
fn cut<'a>(rest: &mut &'a str, end: Option<usize>) -> &'a str {
    let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = tail;
    head
}

fn is_word(symbol: char) -> bool {
    symbol == '_' || symbol.is_alphanumeric()
}

fn is_terminator(symbol: char) -> bool {
    matches!(symbol, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

/// Reads a name up to the next step; what follows a backslash belongs to it.
fn field(rest: &mut &str, steps: &mut Vec<Step>) {
    let mut escaped = false;
    let end = rest.find(|symbol| {
        let ends = !escaped && is_terminator(symbol);
        escaped = !escaped && symbol == '\\';
        ends
    });
    let selector = match cut(rest, end) {
        "*" => Selector::Wildcard,
        name => Selector::Name(name.replace('\\', "")),
    };
    let segment = Segment::Selector(selector);
    match steps.last_mut() {
        Some(Step::Query(query)) => query.segments.push(segment),
        Some(last @ Step::Descend) => {
            *last = Step::Query(JpQuery::new(vec![Segment::Descendant(Box::new(segment))]));
        }
        _ => steps.push(Step::Query(JpQuery::new(vec![segment]))),
    }
}

fn number(rest: &mut &str) -> Parsed<Value> {
    let digits = |symbol: char| symbol != '.' && !symbol.is_ascii_digit();
    let end = rest[1..].find(digits).map(|it| it + 1);
    let text = cut(rest, end);
    let float = || text.parse().ok().and_then(Number::from_f64).map(Value::Number);
    let number = text.parse::<i64>().ok().map(Value::from).or_else(float);
    number.ok_or_else(|| format!("cannot parse number {text}"))
}

/// Reads `[…]` with indexes, a slice, quoted names or several of them.
fn array(rest: &mut &str, steps: &mut Vec<Step>) -> Parsed {
    let end = rest.find([']', '\n']).filter(|end| rest[*end..].starts_with(']'));
    let end = end.ok_or("unterminated array")?;
    let text = &cut(rest, Some(end + 1))[1..end];
    if text.contains(',') {
        let parts =
            text.split(',').map(|part| action(&mut &*format!("[{}]}}", part.trim_matches(' '))));
        steps.push(Step::Union(parts.collect::<Parsed<_>>()?));
        return Ok(());
    }
    let key = text.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
    match key.filter(|it| !it.contains('\'')) {
        Some(key) => {
            // A dot in it that is not escaped separates names.
            let after_descent = steps.last() == Some(&Step::Descend);
            let mut inner = action(&mut &*format!(".{key}}}"))?;
            if after_descent && let Some(Step::Query(query)) = inner.first_mut() {
                let first = Box::new(query.segments.remove(0));
                query.segments.insert(0, Segment::Descendant(first));
                steps.pop();
            }
            steps.append(&mut inner);
        }
        None => steps.push(Step::Slice(slice(if text == "*" { ":" } else { text })?)),
    }
    Ok(())
}

fn slice(text: &str) -> Parsed<Slice> {
    let parts: Vec<_> = text.split(':').collect();
    let is_bound =
        |it: &str| it.strip_prefix('-').unwrap_or(it).bytes().all(|it| it.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(|it| is_bound(it)) {
        return Err(format!("invalid array index {text}"));
    }
    let bound = |index: usize| match parts.get(index).copied().unwrap_or_default() {
        "" => Ok(None),
        it => it.parse::<i64>().map(Some).map_err(|_| format!("array index {it} is not a number")),
    };
    let (start, single) = (bound(0)?, parts.len() == 1);
    let end = if single { start.unwrap_or(0).checked_add(1) } else { bound(1)? };
    Ok(Slice { start, end, step: bound(2)?, single })
}

/// Reads `[?(…)]`. One pair of quotes may hide a closing bracket.
fn filter(rest: &mut &str) -> Parsed<Step> {
    *rest = &rest[3..];
    let (mut quote, mut closed, mut last) = (None, false, '(');
    let end = rest.char_indices().find(|(_, symbol)| {
        match (symbol, quote) {
            ('"' | '\'', None) => quote = Some(*symbol),
            (it, Some(open)) if *it == open && last != '\\' => closed = true,
            _ => {}
        }
        last = *symbol;
        *symbol == '\n' || (*symbol == ')' && quote.is_some() == closed)
    });
    let (end, _) = end.filter(|(_, it)| *it == ')').ok_or("unterminated filter")?;
    let text = cut(rest, Some(end));
    *rest = rest.strip_prefix(")]").ok_or("unclosed array expect ]")?;
    let inside = |text: &str| action(&mut &*format!("{text}}}"));
    const OPERATORS: [char; 4] = ['!', '<', '>', '='];
    if let Some(at) = text.find(OPERATORS).filter(|at| *at > 0) {
        let (left, after) = text.split_at(at);
        let right = after.trim_start_matches(OPERATORS);
        let operator = &after[..after.len() - right.len()];
        if !right.is_empty() {
            return Ok(Step::Filter(inside(left)?, Some((operator.to_owned(), inside(right)?))));
        }
    }
    Ok(Step::Filter(inside(text)?, None))
}

fn quoted(rest: &mut &str, quote: char) -> Parsed<String> {
    let mut last = quote;
    let end = rest.char_indices().skip(1).find(|(_, symbol)| {
        let ends = *symbol == '\n' || (*symbol == quote && last != '\\');
        last = *symbol;
        ends
    });
    let (end, _) = end.filter(|(_, it)| *it == quote).ok_or("unterminated quoted string")?;
    let text = cut(rest, Some(end + 1));
    let inner = unquote(&text[1..end], quote);
    inner.ok_or_else(|| format!("unquote string {text} error invalid syntax"))
}

/// Go's escapes.
fn unquote(text: &str, quote: char) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + escape.len_utf8()..];
        let (digits, radix, high) = match escape {
            'x' => (2, 16, 0),
            'u' => (4, 16, 0),
            'U' => (8, 16, 0),
            '0'..='7' => (2, 8, escape.to_digit(8)? * 64),
            _ => (0, 10, 0),
        };
        out.push(match escape {
            _ if digits > 0 => {
                let code = u32::from_str_radix(rest.get(..digits)?, radix).ok()?;
                rest = &rest[digits..];
                char::from_u32(high + code)?
            }
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' => '\\',
            other if other == quote => quote,
            _ => return None,
        });
    }
    out.push_str(rest);
    Some(out)
}
