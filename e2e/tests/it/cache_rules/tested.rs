//! Which tests there are for the functions that follow the RFCs: files below `proxy-node/src`.

/// A file, a function of it, and tests.
type Tested = (&'static str, &'static str, &'static [&'static str]);

/// The tests of a function.
pub fn of(file: &str, function: &str) -> &'static [&'static str] {
    let found = ALL.iter().find(|(path, name, _)| *path == file && *name == function);
    found.map_or(&[], |(_, _, tests)| tests)
}

const DIALOGUES: &str = "nobody_gets_from_the_cache_what_it_must_not_give";
const STORED: &str = "what_may_be_stored";

pub const ALL: &[Tested] = &[
    (
        "cache/directives.rs",
        "forbids_stale",
        &["what_may_be_served", "what_is_served_is_fresh_or_wanted_stale"],
    ),
    ("cache/directives.rs", "split", &["response_directives", "request_directives"]),
    ("cache/directives.rs", "elements", &["response_directives", "vary_is_sorted_and_a_star_wins"]),
    ("cache/facts.rs", "none_match_names", &["tags_compare_weakly"]),
    ("cache/facts.rs", "join", &["tags_compare_weakly"]),
    (
        "cache/facts/content_range.rs",
        "read",
        &["what_a_content_range_says", "a_part_is_inside_whatever_is_sent"],
    ),
    (
        "cache/facts/date.rs",
        "http_date",
        &["dates_in_three_spellings_and_every_case", "what_is_no_date"],
    ),
    ("cache/facts/request.rs", "new", &["pragma_counts_only_without_cache_control"]),
    ("cache/facts/response.rs", "targeted", &["the_first_valid_one_counts_and_nothing_beside_it"]),
    (
        "cache/facts/response.rs",
        "is_strong",
        &[STORED, "what_is_uncertain_of_a_part_is_passed_on_and_not_kept"],
    ),
    ("cache/facts/response.rs", "expires", &["the_earlier_expiry_counts"]),
    ("cache/facts/response.rs", "age", &["ages"]),
    (
        "cache/facts/response.rs",
        "is_token",
        &["what_varies_with_everything_or_a_thousand_fields_is_not_kept"],
    ),
    ("cache/facts/response.rs", "is_etag", &["tags_compare_weakly"]),
    ("cache/facts/targeted.rs", "directives", &["their_order_is_the_configurations"]),
    ("cache/facts/targeted.rs", "read", &["the_first_valid_one_counts_and_nothing_beside_it"]),
    (
        "cache/key.rs",
        "new",
        &["spellings_of_one_resource_share_a_key", "different_paths_never_share_a_key"],
    ),
    (
        "cache/object/head.rs",
        "refreshed",
        &[
            "a_304_replaces_what_it_names_and_keeps_the_rest",
            "a_stored_head_does_not_grow_for_ever",
        ],
    ),
    ("cache/object/head.rs", "keeps", &["a_304_replaces_what_it_names_and_keeps_the_rest"]),
    (
        "cache/policy.rs",
        "eligible",
        &[
            "what_goes_past_the_cache",
            "a_get_with_a_body_or_in_the_name_of_another_method_is_kept_for_nobody",
        ],
    ),
    ("cache/policy/changes.rs", "invalidates", &["only_successful_unsafe_methods_invalidate"]),
    ("cache/policy/changes.rs", "head_says", &["a_head_is_compared_by_what_it_names"]),
    ("cache/policy/changes.rs", "storable_posted", &["what_a_post_may_leave_behind"]),
    (
        "cache/policy/freshness.rs",
        "age",
        &["ages", "an_age_never_falls_while_nothing_is_validated"],
    ),
    ("cache/policy/freshness.rs", "staleness", &["what_may_be_served_while_it_is_validated"]),
    ("cache/policy/freshness.rs", "new", &["ages", "a_wall_clock_that_was_set_changes_no_age"]),
    ("cache/policy/freshness.rs", "lifetime", &["lifetimes", "lifetimes_are_squids"]),
    ("cache/policy/freshness.rs", "heuristically_cacheable", &[STORED, "lifetimes"]),
    (
        "cache/policy/reuse.rs",
        "usable",
        &["what_may_be_served", "what_is_served_is_fresh_or_wanted_stale"],
    ),
    ("cache/policy/reuse.rs", "answers", &["what_clients_want", "what_may_be_served"]),
    (
        "cache/policy/reuse.rs",
        "may_precede_validation",
        &["what_may_be_served_while_it_is_validated"],
    ),
    (
        "cache/policy/reuse.rs",
        "may_stand_in",
        &["who_may_stand_in_for_an_error", "max_stale_bounds_what_stands_in"],
    ),
    (
        "cache/policy/storing.rs",
        "storable",
        &[STORED, "no_store_is_never_stored", "what_is_for_one_is_never_shared", DIALOGUES],
    ),
    (
        "cache/policy/storing.rs",
        "blames_the_request",
        &[STORED, "an_error_that_one_client_provokes_is_no_answer_for_others"],
    ),
    ("cache/policy/storing.rs", "is_understood", &[STORED]),
    (
        "cache/policy/validation.rs",
        "any_of",
        &[
            "tags_are_sent_along_as_far_as_there_is_room",
            "the_origin_is_told_of_few_variants_and_not_for_everybody",
        ],
    ),
    (
        "cache/policy/validation.rs",
        "confirmed",
        &["what_a_304_confirms", "a_304_that_means_none_of_them_is_no_answer"],
    ),
    ("cache/serve.rs", "choose", &["ranges", "conditions_are_answered_from_memory"]),
    ("cache/serve.rs", "covers", &["parts_are_kept_and_put_together"]),
    ("cache/serve.rs", "not_modified", &["conditions_are_answered_from_memory"]),
    ("cache/serve.rs", "in_range_of", &["a_part_goes_only_with_what_the_client_has"]),
    ("cache/serve.rs", "goes_with_304", &["conditions_are_answered_from_memory"]),
    ("cache/serve/ranges.rs", "read", &["sets_of_ranges", "parts_are_in_order_apart_and_inside"]),
    (
        "cache/store/parts.rs",
        "insert_part",
        &[
            "what_does_not_agree_is_not_put_together",
            "the_oldest_of_too_many_goes_and_memory_is_bounded",
        ],
    ),
    (
        "cache/store/parts.rs",
        "settle_part",
        &["parts_that_meet_become_one_and_the_whole_at_last", "the_whole_comes_of_its_parts"],
    ),
    ("cache/store/parts.rs", "combined", &["whatever_comes_only_right_bytes_are_kept"]),
    (
        "cache/vary.rs",
        "selects",
        &["selections", "variants_live_side_by_side_and_replace_their_like", DIALOGUES],
    ),
    ("cache/vary.rs", "preferences", &["selections"]),
    (
        "fetch/changes.rs",
        "head",
        &[
            "a_head_renews_what_is_stored_or_shows_that_it_is_gone",
            "a_purge_reaches_what_a_head_renews",
        ],
    ),
    (
        "fetch/changes.rs",
        "may_answer_a_get",
        &["the_answer_to_a_post_answers_a_get_where_it_says_so"],
    ),
    (
        "fetch/changes.rs",
        "invalidate",
        &["a_post_makes_what_is_stored_of_its_own_origin_doubtful_and_nothing_else"],
    ),
    ("fetch/deliver/head.rs", "write", &["the_second_request_is_answered_from_memory", DIALOGUES]),
    ("fetch/fill.rs", "run", &["a_304_of_something_else_renews_nothing_that_is_stale"]),
    ("fetch/fill/head.rs", "stored_head", &["odd_answers_are_kept_plainly"]),
    (
        "fetch/fill/keep.rs",
        "refresh",
        &[
            "stale_responses_are_validated_and_their_fields_renewed",
            "a_304_says_which_variant_is_the_answer_and_renews_it",
        ],
    ),
    (
        "fetch/fill/keep.rs",
        "declared",
        &[
            "a_body_without_length_passes_and_is_not_kept",
            "an_answer_that_ends_with_tls_is_kept_if_tls_says_that_it_ends",
        ],
    ),
    (
        "fetch/fill/sibling.rs",
        "is_had",
        &["a_sibling_that_lies_costs_a_round_trip_and_is_left_alone"],
    ),
    ("fetch/lead.rs", "hinted", &["hints_come_before_the_answer_to_what_may_be_kept"]),
    (
        "fetch/look.rs",
        "validate_behind",
        &[
            "one_validation_runs_behind_many_answers",
            "a_validation_that_fails_behind_answers_is_not_tried_with_each_of_them",
        ],
    ),
    ("fetch/plan.rs", "wants_a_part_to_keep", &["what_is_stored_and_what_is_asked_decide"]),
    ("fetch/plan.rs", "cache_status", &["what_is_stored_and_what_is_asked_decide"]),
    ("fetch/plan.rs", "fits", &["those_who_wait_for_what_is_not_shared_go_on_their_own"]),
    ("fetch/renew.rs", "of", &["stale_responses_are_validated_and_their_fields_renewed"]),
    (
        "fetch/renew.rs",
        "alike",
        &[DIALOGUES, "a_304_says_which_variant_is_the_answer_and_renews_it"],
    ),
    ("fetch/variants.rs", "of", &["the_origin_is_told_of_few_variants_and_not_for_everybody"]),
];
