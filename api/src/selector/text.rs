//! The text forms of selectors, parsed.
//!
//! Never matches anything: see `crate::selector`.

use super::{FieldTerm, Operator, Requirement, SelectorError};

/// Longest text that is looked at, in bytes: beyond it a query string is no selector.
const MAX_TEXT_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
}

/// Longest first: `!=` is not `!` and `=`.
const SYMBOLS: [&str; 9] = ["!=", "==", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let ends = |c: char| c.is_whitespace() || "=!(),<>".contains(c);
            let end = rest.find(ends).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    tokens
}

/// Parses a label selector.
pub fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    check_size(text)?;
    let mut parser = Parser { tokens: tokens(text), next: 0 };
    let mut requirements = Vec::new();
    if parser.tokens.is_empty() {
        return Ok(requirements);
    }
    loop {
        requirements.push(parser.requirement()?);
        match parser.take() {
            None => return Ok(requirements),
            Some(Token::Symbol(",")) => {}
            Some(other) => return Err(unexpected(Some(&other), "',' or the end")),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        match self.take() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(unexpected(other.as_ref(), "a label key")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Some(&Token::Symbol("!")) {
            self.take();
            return Requirement::new(&self.key()?, Operator::DoesNotExist, []);
        }
        let key = self.key()?;
        let operator = match self.peek() {
            None | Some(Token::Symbol(",")) => {
                return Requirement::new(&key, Operator::Exists, []);
            }
            Some(Token::Symbol("=" | "==")) => Operator::Equals,
            Some(Token::Symbol("!=")) => Operator::NotEquals,
            Some(Token::Symbol(">")) => Operator::GreaterThan,
            Some(Token::Symbol("<")) => Operator::LessThan,
            Some(Token::Word(word)) if word == "in" => Operator::In,
            Some(Token::Word(word)) if word == "notin" => Operator::NotIn,
            other => return Err(unexpected(other, "in, notin, =, ==, !=, > or <")),
        };
        self.take();
        match operator {
            Operator::In | Operator::NotIn => Requirement::new(&key, operator, self.list()?),
            _ => Requirement::new(&key, operator, [self.value()?]),
        }
    }

    /// A value may be empty: `key=`.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            None | Some(Token::Symbol(",")) => Ok(String::new()),
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.take();
                Ok(word)
            }
            other => Err(unexpected(other, "a label value")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.take() {
            Some(Token::Symbol("(")) => {}
            other => return Err(unexpected(other.as_ref(), "'('")),
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Word(word)) => {
                    values.push(word.clone());
                    self.take();
                }
                // `(a,)` has an empty second value.
                Some(Token::Symbol("," | ")")) => values.push(String::new()),
                other => return Err(unexpected(other, "a label value or ')'")),
            }
            match self.take() {
                Some(Token::Symbol(",")) => {}
                Some(Token::Symbol(")")) => return Ok(values),
                other => return Err(unexpected(other.as_ref(), "',' or ')'")),
            }
        }
    }
}

fn unexpected(token: Option<&Token>, expected: &str) -> SelectorError {
    let found = match token {
        None => "",
        Some(Token::Word(word)) => word,
        Some(Token::Symbol(symbol)) => symbol,
    };
    SelectorError::new(format!(
        "unable to parse requirement: found '{found}', expected: {expected}"
    ))
}

/// Parses a field selector.
pub fn parse_fields(text: &str) -> Result<Vec<FieldTerm>, SelectorError> {
    check_size(text)?;
    split_terms(text).iter().filter(|term| !term.is_empty()).map(|term| field_term(term)).collect()
}

/// Splits at commas that no `\` escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == ',' {
            terms.push(&text[start..at]);
            start = at + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

fn field_term(term: &str) -> Result<FieldTerm, SelectorError> {
    let invalid =
        || SelectorError::new(format!("invalid selector: '{term}'; can't understand '{term}'"));
    let at = term.find(['=', '!']).ok_or_else(invalid)?;
    let (field, rest) = term.split_at(at);
    let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (true, value)
    } else if let Some(value) = rest.strip_prefix('=') {
        (true, value)
    } else {
        return Err(invalid());
    };
    Ok(FieldTerm { field: field.trim().to_owned(), value: unescape(value)?, equal })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    let message =
                        format!("invalid field selector: invalid escape sequence: \\{other}");
                    return Err(SelectorError::new(message));
                }
            },
            '=' => {
                let message =
                    format!("invalid field selector: unescaped character in value: {value}");
                return Err(SelectorError::new(message));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn check_size(text: &str) -> Result<(), SelectorError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(SelectorError::new(format!("the selector is longer than {MAX_TEXT_BYTES} bytes")))
}
