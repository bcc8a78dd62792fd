use super::*;
use proto::config::NodeRollout;

fn rollout(states: &[(&str, NodeRolloutState)]) -> Rollout {
    let nodes = states.iter().map(|(name, state)| NodeRollout {
        name: (*name).into(),
        state: (*state).into(),
        ..Default::default()
    });
    Rollout { nodes: nodes.collect(), state: RolloutState::Spreading.into(), ..Default::default() }
}

#[test]
fn each_answer_is_printed_once() {
    use NodeRolloutState::{Applied, Assigned, Rejected, Waiting};
    let mut printed = Printed::default();
    assert_eq!(printed.news(&rollout(&[("a", Assigned), ("b", Waiting)])).len(), 1);
    assert_eq!(printed.news(&rollout(&[("a", Applied), ("b", Waiting)])).len(), 1);
    assert_eq!(printed.news(&rollout(&[("a", Applied), ("b", Waiting)])), Vec::<String>::new());
    let news = printed.news(&rollout(&[("a", Applied), ("b", Rejected)]));
    assert!(news.len() == 1 && news[0].contains('b') && news[0].contains("rejected"), "{news:?}");
}

#[test]
fn the_end_names_who_does_not_have_it() {
    use NodeRolloutState::{Applied, Gone};
    let done = |states: &[(&str, NodeRolloutState)]| Rollout {
        state: RolloutState::Done.into(),
        ..rollout(states)
    };
    assert_eq!(
        conclusion(&done(&[("a", Applied), ("b", Applied)])).unwrap(),
        "revision 0 is in force on 2 processes"
    );
    let one = conclusion(&done(&[("a", Applied), ("b", Gone)])).unwrap();
    assert!(one.contains("on 1 processes; b went away meanwhile"), "{one}");
    assert!(conclusion(&done(&[("a", Gone), ("b", Gone)])).unwrap().contains("a, b went away"));
    let failed = Rollout {
        state: RolloutState::Failed.into(),
        explanation: "b refused it".into(),
        ..rollout(&[])
    };
    assert!(conclusion(&failed).unwrap_err().to_string().contains("b refused it"));
}
