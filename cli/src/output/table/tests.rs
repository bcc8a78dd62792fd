use super::*;

const COLUMNS: &[Column] = &[
    column("NAME", 0),
    column("SERVICE", 4),
    column("ADDRESS", 3),
    column("STATE", 0),
    column("WEIGHT", 5),
    sentences("REASONS"),
];

fn rows(name: &str, reasons: &str) -> Vec<Vec<Cell>> {
    let row = |name: &str, reasons: &str| {
        let plain = [name, "proxy-node", "127.0.0.1:34567"].map(Cell::new);
        plain
            .into_iter()
            .chain([Cell::new("usable").toned(Tone::Good), Cell::new(100), Cell::new(reasons)])
            .collect()
    };
    vec![row(name, reasons), row("b", "")]
}

fn shown(rows: &[Vec<Cell>], width: Option<usize>) -> String {
    render(COLUMNS, rows, width, false)
}

#[test]
fn everything_where_there_is_room() {
    let text = shown(&rows("a", "two of three find it unwell"), None);
    assert_eq!(
        text,
        "NAME  SERVICE     ADDRESS          STATE   WEIGHT  REASONS\n\
         a     proxy-node  127.0.0.1:34567  usable  100     two of three find it unwell\n\
         b     proxy-node  127.0.0.1:34567  usable  100"
    );
    let text = shown(&rows("a", "two of three checkers find it unwell, as they say"), Some(81));
    assert_eq!(
        text,
        "NAME  SERVICE     ADDRESS          STATE   WEIGHT  REASONS\n\
         a     proxy-node  127.0.0.1:34567  usable  100     two of three checkers find it\n\
         \u{20}                                                  unwell, as they say\n\
         b     proxy-node  127.0.0.1:34567  usable  100"
    );
}

#[test]
fn columns_go_and_words_stay_whole() {
    let name = "proxy-node-in-the-data-centre-of-frankfurt-rack-12";
    let reasons = "its lease lapsed at noon; \
        http://example.com/a/very/long/address/that/is/longer/than/the/terminal/is/wide/today \
        was asked";
    for width in 20..200 {
        let text = shown(&rows(name, reasons), Some(width));
        let fits = |line: &str| {
            width_of(line) <= width
                || line.trim_start().starts_with("http://") && !line.trim().contains(' ')
        };
        assert!(text.lines().all(fits), "{width}:\n{text}");
        assert!(
            reasons.split(' ').all(|word| text.contains(word)),
            "{width}: a word is broken or gone:\n{text}"
        );
        assert!(text.contains("STATE"), "{width}:\n{text}");
        assert_eq!(text.contains(name), width >= 58, "{width}:\n{text}");
    }
    let text = shown(&rows(name, reasons), Some(80));
    let expected = format!(
        "NAME{0:48}ADDRESS{0:10}STATE\n{name}  127.0.0.1:34567  usable\n    its lease lapsed \
         at noon;\n",
        ""
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn long_words_give_room_before_columns_go() {
    let columns = [column("A", 2), long("URL"), column("B", 1)];
    let rows = vec![vec![
        Cell::new("aaaa"),
        Cell::new(format!("http://{}", "x".repeat(60))),
        Cell::new("bbbb"),
    ]];
    let shown = |width| render(&columns, &rows, Some(width), false);
    assert!(shown(80).contains(&"x".repeat(60)));
    assert_eq!(shown(40), format!("A     URL{:27}B\naaaa  http://{}…  bbbb", "", "x".repeat(20)));
    for (width, titles) in [(32, "A URL B"), (31, "URL B"), (25, "URL"), (12, "URL")] {
        let text = shown(width);
        assert!(
            text.lines().all(|line| width_of(line) <= width) && text.contains("http"),
            "{width}:\n{text}"
        );
        assert_eq!(
            text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
            titles,
            "{width}"
        );
    }
}

#[test]
fn wide_characters_and_colours_keep_columns_straight() {
    let rows = vec![
        vec![Cell::new("漢字"), Cell::new("lost").toned(Tone::Bad), Cell::new(1)],
        vec![Cell::new("ab"), Cell::new("x"), Cell::new(2)],
    ];
    let columns = [column("A", 0), column("B", 0), column("C", 0)];
    assert_eq!(render(&columns, &rows, None, false), "A     B     C\n漢字  lost  1\nab    x     2");
    assert!(render(&columns, &rows, None, true).contains("漢字  \u{1b}[38;5;9mlost\u{1b}[39m  1"));
    assert_eq!(
        (cut("漢字漢字", 5).as_str(), cut("abc", 3).as_str(), cut("abcd", 3).as_str()),
        ("漢字…", "abc", "ab…")
    );
}

#[test]
fn cells_hold_lines_and_no_controls() {
    let rows = vec![vec![Cell::new("a\nb\u{1b}[2J"), Cell::new("x")]];
    assert_eq!(
        render(&[column("N", 0), column("M", 0)], &rows, Some(80), true),
        "N        M\na        x\nb%1B[2J"
    );
}
