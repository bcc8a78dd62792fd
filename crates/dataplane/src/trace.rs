//! Traces of requests: W3C Trace Context (<https://www.w3.org/TR/trace-context/>) in and out, and
//! who is sampled. Pure; [`span`] makes what is exported of it.
//!
//! A request that brings no `traceparent` begins a trace whose id is its request id, so that a
//! trace is found by what answers and logs carry. Whether it is sampled follows from that id: every
//! process with the same ratio says the same, and nothing has to be sent for it. Of a request that
//! is not sampled nothing is done at all, and what it brings goes on as it came.

pub mod span;

use std::str::FromStr;

use uuid::Uuid;

/// A trace, the span in it that is the parent of what comes next, and flags: the value of
/// `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Never 0.
    pub trace: u128,
    /// Never 0.
    pub span: u64,
    /// The lowest bit says that it is sampled.
    pub flags: u8,
}

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

impl Context {
    /// Reads the value of the one `traceparent` of a request. What does not follow the rules to the
    /// letter is none (§3.2.2), and so are several.
    pub fn carried<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let one = values.next()?;
        values.next().is_none().then(|| Self::parse(one)).flatten()
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        // A later version may have more behind a dash, and is read as this one (§3.2.4).
        let version = number(&known[..2])?;
        if version == 0xff || !(rest.is_empty() || version > 0 && rest[0] == b'-') {
            return None;
        }
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let (trace, span, flags) =
            (number(&known[3..35])?, number(&known[36..52])?, number(&known[53..55])?);
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()?,
        })
    }

    /// The value of `traceparent`, without an allocation.
    #[must_use]
    pub fn value(&self) -> [u8; LENGTH] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut value[3..35], self.trace);
        write_hex(&mut value[36..52], self.span.into());
        // Of later versions' flags only those are sent that this one knows (§4.3).
        write_hex(&mut value[53..55], (self.flags & SAMPLED).into());
        value
    }

    const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// Lower-case hexadecimal digits, as many as there are.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn write_hex(out: &mut [u8], mut number: u128) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::try_from(number & 15).unwrap_or(0)];
        number >>= 4;
    }
}

/// A request's span in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What the next hop is told: the trace, and this span.
    pub own: Context,
    /// The span that it is part of; none: it began the trace.
    pub parent: Option<u64>,
}

impl Trace {
    /// A part of it with a span of its own.
    #[must_use]
    pub fn part(&self, span: u64) -> Self {
        Self { own: Context { span: span.max(1), ..self.own }, parent: Some(self.own.span) }
    }
}

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| {
            format!("{text:?} is no share; give a number from 0 (none) to 1 (all), such as 0.01")
        })
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a `traceparent` of somebody who is not one of us does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Clients {
    /// It is the parent, and says whether the request is sampled.
    #[default]
    Follow,
    /// It is not looked at: clients shall not decide how much is traced.
    Ignore,
}

/// Decides who is sampled.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// Ids below it, by their random bits.
    below: u64,
    clients: Clients,
}

/// Random bits of a request id (UUID v7) that decide: the last 62.
const RANDOM: u32 = 62;

impl Sampler {
    /// Of those that bring no decision, this share.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2⁶²"
    )]
    pub fn new(ratio: Ratio, clients: Clients) -> Self {
        Self { below: (ratio.0 * (1_u64 << RANDOM) as f64) as u64, clients }
    }

    /// The span of a request; none: it is not sampled. `believed`: what it carries is from one of
    /// us. `span` makes the span's id.
    pub fn begin(
        &self,
        id: Uuid,
        carried: Option<Context>,
        believed: bool,
        span: impl FnOnce() -> u64,
    ) -> Option<Trace> {
        match carried.filter(|_| believed || self.clients == Clients::Follow) {
            Some(parent) => parent.is_sampled().then(|| {
                let own = Context { span: span().max(1), flags: SAMPLED, ..parent };
                Trace { own, parent: Some(parent.span) }
            }),
            None => self.samples(id).then(|| {
                let own =
                    Context { trace: id.as_u128().max(1), span: span().max(1), flags: SAMPLED };
                Trace { own, parent: None }
            }),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the last 62 bits")]
    fn samples(&self, id: Uuid) -> bool {
        (id.as_u128() as u64 & ((1 << RANDOM) - 1)) < self.below
    }
}

/// What the next hop hears of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Onward {
    /// What came, if anything did.
    #[default]
    AsReceived,
    /// Nothing.
    Nothing,
    /// This.
    Told(Context),
}

/// What an origin hears. A trace that the client began goes on there, through this span. One that
/// we began (its id is the request's) is our own affair, unless origins are `always` told.
#[must_use]
pub fn to_origin(trace: Option<Trace>, carried: Option<Context>, id: Uuid, always: bool) -> Onward {
    let ours = carried.is_none_or(|carried| carried.trace == id.as_u128());
    match trace {
        Some(trace) if always || !ours => Onward::Told(trace.own),
        _ if ours && carried.is_some() => Onward::Nothing,
        _ => Onward::AsReceived,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<Context> {
        Context::carried([text.as_bytes()])
    }

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let good = Context {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            flags: 1,
        };
        assert_eq!(parse(GOOD), Some(good));
        assert_eq!(good.value(), GOOD.as_bytes());
        for (text, readable) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true),
            (
                "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-\
             what-the-future-will-be-like",
                true,
            ),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01", false),
            (" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("", false),
        ] {
            assert_eq!(parse(text).is_some(), readable, "{text}");
        }
        assert_eq!(Context::carried([GOOD.as_bytes(), GOOD.as_bytes()]), None, "two say nothing");
    }

    #[test]
    fn a_parent_decides_where_it_is_believed_and_the_id_otherwise() {
        let (id, carried) = (Uuid::from_u128(u128::MAX), parse(GOOD).expect("good"));
        let unsampled = Context { flags: 0, ..carried };
        let child = Some(Trace { own: Context { span: 7, ..carried }, parent: Some(carried.span) });
        let root =
            Some(Trace { own: Context { trace: u128::MAX, span: 7, flags: 1 }, parent: None });
        for (ratio, clients, carried, believed, expected) in [
            ("0", Clients::Follow, Some(carried), false, child),
            ("1", Clients::Follow, Some(carried), false, child),
            ("1", Clients::Follow, Some(unsampled), false, None),
            ("1", Clients::Ignore, Some(unsampled), false, root),
            ("0", Clients::Ignore, Some(carried), false, None),
            ("0", Clients::Ignore, Some(carried), true, child),
            ("1", Clients::Ignore, Some(unsampled), true, None),
            ("1", Clients::Follow, None, false, root),
            ("0", Clients::Follow, None, false, None),
        ] {
            let sampler = Sampler::new(ratio.parse().expect("a share"), clients);
            assert_eq!(
                sampler.begin(id, carried, believed, || 7),
                expected,
                "{ratio} {clients:?} {carried:?} {believed}"
            );
        }
        assert!(
            "1.1".parse::<Ratio>().is_err()
                && "-0.1".parse::<Ratio>().is_err()
                && "nan".parse::<Ratio>().is_err()
        );
    }

    #[test]
    fn a_share_is_sampled_and_everybody_samples_the_same() {
        let ids: Vec<_> = (0..20_000_u128)
            .map(|number| {
                Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
            })
            .collect();
        let sampled = |ratio: &str| {
            let sampler = Sampler::new(ratio.parse().expect("a share"), Clients::Follow);
            ids.iter()
                .filter(|id| sampler.begin(**id, None, false, || 1).is_some())
                .copied()
                .collect::<Vec<_>>()
        };
        let (few, more) = (sampled("0.01"), sampled("0.1"));
        assert!(
            (100..300).contains(&few.len()) && (1800..2200).contains(&more.len()),
            "{} {}",
            few.len(),
            more.len()
        );
        assert!(few.iter().all(|id| more.contains(id)), "a lower share is part of a higher one");
    }

    #[test]
    fn an_origin_hears_of_traces_that_clients_began() {
        let (id, client) = (Uuid::from_u128(5), parse(GOOD).expect("good"));
        let own = Context { span: 7, ..client };
        let child = Some(Trace { own, parent: Some(client.span) });
        let begun = Context { trace: 5, span: 9, flags: 1 };
        let ours = Some(Trace { own: Context { trace: 5, span: 7, flags: 1 }, parent: Some(9) });
        for (trace, carried, always, expected) in [
            (child, Some(client), false, Onward::Told(own)),
            (None, Some(client), false, Onward::AsReceived),
            (None, None, false, Onward::AsReceived),
            (ours, Some(begun), false, Onward::Nothing),
            (None, Some(begun), false, Onward::Nothing),
            (ours, None, false, Onward::AsReceived),
            (ours, Some(begun), true, Onward::Told(Context { trace: 5, span: 7, flags: 1 })),
            (ours, None, true, Onward::Told(Context { trace: 5, span: 7, flags: 1 })),
        ] {
            assert_eq!(
                to_origin(trace, carried, id, always),
                expected,
                "{trace:?} {carried:?} {always}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_panics(
            trace in 1_u128..,
            span in 1_u64..,
            flags in 0_u8..2,
            text in ".{0,80}",
        ) {
            let context = Context { trace, span, flags };
            prop_assert_eq!(Context::parse(&context.value()), Some(context));
            let _either = parse(&text);
        }
    }
}
