use std::sync::Arc;

use super::*;
use crate::sample;

fn titles(scene: &Scene, column: Column) -> Vec<&str> {
    scene
        .actors
        .iter()
        .filter(|actor| actor.column == column)
        .map(|actor| actor.title.as_str())
        .collect()
}

#[test]
fn everybody_is_there_and_rates_are_on_the_edges() {
    let scene = of(&sample::view());
    assert_eq!(titles(&scene, Column::Balancers), ["balancer-1", "balancer-2"]);
    assert_eq!(titles(&scene, Column::Nodes), ["proxy-node-1", "proxy-node-2", "proxy-node-3"]);
    assert_eq!(titles(&scene, Column::Beyond), ["origins"]);
    // 2 from the clients, 2 × 3 between, 3 beyond.
    assert_eq!(scene.flows.len(), 11);
    let rate = |from: &str, to: &str| {
        let place =
            |title: &str| scene.actors.iter().position(|actor| actor.title == title).unwrap();
        scene
            .flows
            .iter()
            .find(|flow| (flow.from, flow.to) == (place(from), place(to)))
            .unwrap()
            .rate
    };
    assert_eq!(rate("clients", "balancer-1"), Some(30.0));
    assert_eq!(rate("balancer-2", "proxy-node-3"), Some(10.0));
    assert_eq!(rate("proxy-node-1", "origins"), Some(5.0));
    let node = scene.actors.iter().find(|actor| actor.title == "proxy-node-1").unwrap();
    assert_eq!(node.lines, ["usable · 20/s", "hits 75 %"]);
}

#[test]
fn states_show() {
    let mut view = sample::view();
    let status =
        view.instances.iter_mut().find(|status| status.instance.name == "proxy-node-2").unwrap();
    Arc::make_mut(status).state = State::Draining;
    Arc::make_mut(&mut view.configuration).parents = vec!["parent.test:3128".into()];
    let scene = of(&view);
    let node = scene.actors.iter().position(|actor| actor.title == "proxy-node-2").unwrap();
    assert_eq!(scene.actors[node].look.unwrap().word, "draining");
    assert!(scene.flows.iter().filter(|flow| flow.to == node).all(|flow| flow.idle));
    assert_eq!(titles(&scene, Column::Beyond), ["parent proxy"]);
}

#[test]
fn a_large_cluster_shows_who_is_unwell() {
    let mut view = sample::cluster(100);
    let status =
        view.instances.iter_mut().find(|status| status.instance.name == "proxy-node-77").unwrap();
    Arc::make_mut(status).state = State::Lost;
    let scene = of(&view);
    let nodes = titles(&scene, Column::Nodes);
    assert_eq!(nodes.len(), MOST_NODES);
    assert!(nodes.contains(&"proxy-node-77") && nodes.contains(&"89 more nodes"), "{nodes:?}");
    let all: f64 = scene
        .flows
        .iter()
        .filter(|flow| scene.actors[flow.to].column == Column::Nodes)
        .filter_map(|flow| flow.rate)
        .sum();
    assert!(
        (all - 2.0 * 100.0 * 10.0).abs() < 0.1,
        "nothing is lost by drawing many together: {all}"
    );
}

#[test]
fn nobody_is_there() {
    let scene = of(&View::default());
    assert_eq!((scene.actors.len(), scene.flows.len()), (2, 0));
}
