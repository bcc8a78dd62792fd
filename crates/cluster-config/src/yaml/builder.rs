//! Builds the tree from the events of the parser, within bounds.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Kind, Node, Pair, Scalar, Value, syntax};
use crate::problem::{Place, Problem};

/// More would be an attack or an accident, not a cluster.
pub(super) const MOST_NODES: usize = 50_000;

pub(super) const DEEPEST: usize = 64;

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) struct Builder<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    pub(super) anchors: HashMap<usize, Node>,
    pub(super) nodes: usize,
    pub(super) problems: Vec<Problem>,
}

pub(super) type Built<T> = Result<T, Box<Problem>>;

impl<'a> Builder<'a> {
    pub(super) fn place(&self, marker: &Marker) -> Place {
        Place {
            file: self.file.to_owned(),
            line: number(marker.line()),
            column: number(marker.col() + 1),
        }
    }

    pub(super) fn next(&mut self) -> Built<Option<(Event<'a>, Place)>> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..) | Event::StreamStart | Event::Anchor(..), _))) => {}
                Some(Ok((event, span))) => {
                    let place = self.place(&span.start);
                    return Ok(Some((event, place)));
                }
                Some(Err(error)) => {
                    return Err(Box::new(syntax::problem(self.file, self.text, &error)));
                }
            }
        }
    }

    pub(super) fn document(&mut self) -> Built<Option<Node>> {
        let mut tree = None;
        while let Some((event, place)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if tree.is_some() => {
                    return Err(Box::new(Problem::error(
                        place,
                        "a second document begins here",
                        "keep one document in the file: remove the `---`",
                    )));
                }
                Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => tree = Some(self.node(event, place, 0)?),
            }
        }
        Ok(tree)
    }

    pub(super) fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Built<Node> {
        self.count(1, &place)?;
        if depth > DEEPEST {
            return Err(Box::new(Problem::error(
                place,
                format!("nested deeper than {DEEPEST} levels"),
                "flatten it",
            )));
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, place),
            Event::Scalar(text, style, anchor, tag) => match tag {
                // `!name`, as a rule negates an ACL.
                Some(tag) if text.is_empty() && style == ScalarStyle::Plain => {
                    let name = self.tagged(&tag, &place);
                    (anchor, Value::Scalar(Scalar { text: name, kind: Kind::Text }))
                }
                tag => {
                    self.tag(tag.is_some(), &place);
                    (
                        anchor,
                        Value::Scalar(Scalar::new(text.into_owned(), style == ScalarStyle::Plain)),
                    )
                }
            },
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.is_some(), &place);
                (anchor, Value::List(self.list(depth)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.is_some(), &place);
                (anchor, Value::Map(self.map(depth)?))
            }
            _ => {
                return Err(Box::new(Problem::error(
                    place,
                    "a value is missing here",
                    "write one",
                )));
            }
        };
        let node = Node { place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    pub(super) fn list(&mut self, depth: usize) -> Built<Vec<Node>> {
        let mut items = Vec::new();
        while let Some((event, place)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, place, depth + 1)?);
        }
        Ok(items)
    }

    pub(super) fn map(&mut self, depth: usize) -> Built<Vec<Pair>> {
        let mut pairs: Vec<Pair> = Vec::new();
        while let Some((event, place)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, place.clone(), depth + 1)?;
            let Some((event, at)) = self.next()? else { break };
            let node = self.node(event, at, depth + 1)?;
            let Some(key) = key.text().map(str::to_owned) else {
                self.problems.push(Problem::error(
                    place,
                    "a key that is a list or a map",
                    "write a name as the key",
                ));
                continue;
            };
            if key == "<<" {
                self.problems.push(Problem::error(
                    place,
                    "merge keys (<<) are not a part of YAML 1.2",
                    "write the values out, or use an alias for the whole value",
                ));
            } else if let Some(first) = pairs.iter().find(|pair| pair.key == key) {
                let message = format!("`{key}` is there twice; first in line {}", first.place.line);
                self.problems.push(Problem::error(place, message, "keep one of them"));
            } else {
                pairs.push(Pair { key, place, node });
            }
        }
        Ok(pairs)
    }

    pub(super) fn alias(&mut self, id: usize, place: Place) -> Built<Node> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            return Err(Box::new(Problem::error(
                place,
                "an alias to a value that it is a part of",
                "write the value out",
            )));
        };
        self.count(size(&target), &place)?;
        Ok(target)
    }

    pub(super) fn count(&mut self, more: usize, place: &Place) -> Built<()> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MOST_NODES {
            let remedy = "put long lists into lists/*.txt; do not nest aliases";
            return Err(Box::new(Problem::error(
                place.clone(),
                format!("more than {MOST_NODES} values"),
                remedy,
            )));
        }
        Ok(())
    }

    /// Reports a value that begins with `!`, and answers what it was meant to be.
    pub(super) fn tagged(&mut self, tag: &Tag, place: &Place) -> String {
        let name = format!("{}{}", tag.handle(), tag.suffix());
        let column = place.column.saturating_sub(number(name.chars().count())).max(1);
        let message = format!("`{name}` begins with `!`, which YAML takes for a tag");
        self.problems.push(Problem::error(
            Place { column, ..place.clone() },
            message,
            format!("put it in quotes: \"{name}\""),
        ));
        name
    }

    pub(super) fn tag(&mut self, tagged: bool, place: &Place) {
        if tagged {
            self.problems.push(Problem::error(
                place.clone(),
                "tags (!…) mean nothing here",
                "remove the tag, or put a value that begins with `!` in quotes",
            ));
        }
    }
}

pub(super) fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(pairs) => 1 + pairs.iter().map(|pair| 1 + size(&pair.node)).sum::<usize>(),
    }
}
