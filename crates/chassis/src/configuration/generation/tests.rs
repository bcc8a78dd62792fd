use super::*;

fn generation(hash: &str, confirmed: bool) -> Generation {
    let (revision, files) = (format!("r-{hash}"), BTreeMap::new());
    Generation { revision, hash: hash.to_owned(), files, confirmed, starts: 0 }
}

/// Current (hash, confirmed, starts), previous, rejected.
type Shape<'a> = (Option<(&'a str, bool, u32)>, Option<&'a str>, Vec<&'a str>);

fn shape(state: &Generations) -> Shape<'_> {
    let current = state.current.as_ref().map(|g| (g.hash.as_str(), g.confirmed, g.starts));
    (
        current,
        state.previous.as_ref().map(|g| g.hash.as_str()),
        state.rejected.iter().map(|r| r.hash.as_str()).collect(),
    )
}

fn with_a_confirmed() -> Generations {
    Generations::default().booted("1").applied(generation("a", false)).confirmed("a")
}

#[test]
fn a_revision_that_crashes_the_process_is_left_at_its_second_start() {
    let state = with_a_confirmed().applied(generation("b", false));
    assert_eq!(shape(&state), (Some(("b", false, 0)), Some("a"), vec![]));
    let state = state.booted("1");
    assert_eq!(
        shape(&state),
        (Some(("b", false, 1)), Some("a"), vec![]),
        "the first start tries it"
    );
    let state = state.booted("1");
    assert_eq!(shape(&state), (Some(("a", true, 0)), None, vec!["b"]), "the second does not");
    assert!(matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)));
    assert_eq!(state.assigned("a", Some("a")), Assigned::InForce);
    assert_eq!(state.assigned("c", Some("a")), Assigned::Take);
    let state = state.booted("1").booted("1").booted("1");
    assert_eq!(
        shape(&state),
        (Some(("a", true, 0)), None, vec!["b"]),
        "a confirmed one boots for ever"
    );
    let state = state.booted("2");
    assert_eq!(
        state.assigned("b", Some("a")),
        Assigned::Take,
        "another version of the program may try again"
    );
}

#[test]
fn confirmation_and_clean_stops_forget_starts() {
    let state = with_a_confirmed()
        .applied(generation("b", false))
        .booted("1")
        .confirmed("b")
        .booted("1")
        .booted("1");
    assert_eq!(shape(&state), (Some(("b", true, 0)), Some("a"), vec![]));
    let state = with_a_confirmed()
        .applied(generation("b", false))
        .booted("1")
        .stopped_cleanly()
        .booted("1")
        .stopped_cleanly()
        .booted("1");
    assert_eq!(shape(&state), (Some(("b", false, 1)), Some("a"), vec![]));
    let state = with_a_confirmed().applied(generation("b", false)).confirmed("a");
    assert_eq!(
        shape(&state).0,
        Some(("b", false, 0)),
        "a late confirmation of another one counts for nothing"
    );
}

#[test]
fn with_nothing_to_go_back_to_it_is_tried_again() {
    let state = Generations::default()
        .booted("1")
        .applied(generation("a", false))
        .booted("1")
        .booted("1")
        .booted("1");
    assert_eq!(shape(&state), (Some(("a", false, 3)), None, vec![]));
    assert_eq!(shape(&Generations::default().booted("1")), (None, None, vec![]));
}

#[test]
fn what_an_unconfirmed_one_goes_back_to_is_a_confirmed_one() {
    let state = with_a_confirmed().applied(generation("b", false)).applied(generation("c", false));
    assert_eq!(shape(&state), (Some(("c", false, 0)), Some("a"), vec![]));
    let state = Generations::default()
        .booted("1")
        .applied(generation("b", false))
        .applied(generation("c", false));
    assert_eq!(shape(&state), (Some(("c", false, 0)), Some("b"), vec![]));
    let state = with_a_confirmed().applied(generation("b", false)).applied(generation("a", false));
    assert_eq!(
        shape(&state),
        (Some(("a", false, 0)), Some("b"), vec![]),
        "back to the same content"
    );
}

#[test]
fn what_cannot_be_applied_at_the_start_is_rejected_and_what_is_broken_is_not() {
    let state = with_a_confirmed().applied(generation("b", false)).booted("1");
    assert_eq!(shape(&state.clone().fallen_back("no")), (Some(("a", true, 0)), None, vec!["b"]));
    assert_eq!(shape(&state.lost()), (Some(("a", true, 0)), None, vec![]));
}

#[test]
fn what_is_forgiven_is_tried_again_and_no_oftener_than_the_first_time() {
    let rejected = with_a_confirmed().applied(generation("b", false)).booted("1").booted("1");
    assert_eq!(shape(&rejected), (Some(("a", true, 0)), None, vec!["b"]));
    let state = rejected.forgiven();
    assert_eq!(state.assigned("b", Some("a")), Assigned::Take);
    let state = state.begun("b").applied(generation("b", false)).booted("1");
    assert_eq!(shape(&state), (Some(("b", false, 1)), Some("a"), vec![]), "one start tries it");
    let state = state.booted("1");
    assert_eq!(shape(&state), (Some(("a", true, 0)), None, vec!["b"]), "the second does not");
    let state = state.booted("1").booted("1");
    assert!(
        matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)),
        "and no start forgives it"
    );
    let state = with_a_confirmed().begun("b").booted("1").begun("b").forgiven().booted("1");
    assert_eq!(
        state.assigned("b", Some("a")),
        Assigned::Take,
        "attempts to apply it count anew, too"
    );
}

#[test]
fn rejections_are_bounded() {
    let mut state = with_a_confirmed();
    for n in 0..100 {
        state = state
            .applied(generation(&format!("x{n}"), false))
            .fallen_back("no")
            .applied(generation("a", true));
    }
    assert_eq!(state.rejected.len(), REJECTIONS);
    assert_eq!(state.rejected.last().unwrap().hash, "x99");
}

#[test]
fn what_kills_the_process_while_it_is_applied_is_refused_after_two_attempts() {
    let state = with_a_confirmed().begun("b").booted("1");
    assert_eq!(state.assigned("b", Some("a")), Assigned::Take);
    let state = state.begun("b").booted("1");
    assert!(matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)));
    let state = with_a_confirmed().begun("b").refused().begun("b").refused().booted("1");
    assert_eq!(state.assigned("b", Some("a")), Assigned::Take, "a refusal is no crash");
    let state =
        with_a_confirmed().begun("b").applied(generation("b", false)).begun("b").booted("1");
    assert_eq!(state.trying.unwrap().attempts, 1);
}
