//! `shoal cache warm`: what is fetched before somebody asks is there when somebody does.

use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_urls_is_fetched_through_the_cluster_and_failures_are_told() {
    let arguments = vec!["--nodes=2".into(), "--balancers=1".into()];
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let origin = Origin::start().await;
    let url = |number: u32| origin.url(&format!("/cacheable/{}", 3000 + number));
    let dir = tempfile::tempdir().expect("a directory");
    let list = dir.path().join("urls.txt");
    let good: String = (0..20).map(|number| format!("{}\n", url(number))).collect();
    let path = list.to_str().expect("text");

    std::fs::write(
        &list,
        format!("# two that fail\nnonsense\n{}\n\n{good}", "http://127.0.0.1:1/"),
    )
    .expect("written");
    let output = lab.shoal(&["cache", "warm", "--every-node", "-o", "json", path]).await;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(!output.status.success(), "{said}");
    assert_eq!((said["asked"].as_u64(), said["stored"].as_u64()), (Some(44), Some(40)), "{said}");
    let failures = said["failures"].as_array().expect("failures");
    let of = |text: &str| {
        failures
            .iter()
            .filter(|it| it["problem"].as_str().is_some_and(|it| it.contains(text)))
            .count()
    };
    assert_eq!((failures.len(), of("answered with 5"), of("not an absolute")), (4, 2, 2), "{said}");

    let asked = origin.requests();
    std::fs::write(&list, good).expect("written");
    let said = lab.ok(&["cache", "warm", path]).await;
    assert!(said.contains("20 fetched") && said.contains("20 were already"), "{said}");
    for number in 0..20 {
        let answer = client::once(lab.frontend(), "GET", &url(number), &[], b"").await;
        assert_eq!(answer.expect("an answer").body.len(), 3000 + number as usize);
    }
    assert_eq!(origin.requests(), asked, "nothing was asked again");
    let held = lab.json(&["cache", "lookup", &url(1)]).await;
    assert_eq!(held["nodes"][0]["variants"][0]["tier"], "memory", "{held}");
}
