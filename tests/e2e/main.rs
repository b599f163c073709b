//! End to end: the built binary between a real redis-server, a status API and an OTLP/HTTP receiver.
//!
//! The tests of each fault (`selftest` checks that they exist):
//!
//! | what goes wrong | test |
//! |---|---|
//! | still running at the timeout | `stories::what_runs_too_long_times_out`, `stories::a_workflow_that_could_not_be_polled_times_out_too`, `durable::the_poll_timeout_counts_on_while_farspan_is_down` |
//! | ended with a stage open | `stories::a_stage_left_open_ends_with_its_workflow`, `stories::a_stage_that_ends_late_is_still_whole` |
//! | 404 | `stories::a_workflow_that_the_api_does_not_know_yet_is_waited_for`, `stories::a_workflow_that_the_api_does_not_know_for_a_minute_is_given_up`, `stories::the_minute_of_what_is_not_found_begins_with_the_event` |
//! | end before start, missing times | `stories::impossible_times_never_make_an_impossible_span` |
//! | times that change | `stories::of_times_that_change_the_best_are_kept` |
//! | API: refuses connections | `api_faults::an_api_that_is_down_is_waited_for`, `api_faults::an_api_that_goes_away_and_comes_back_is_watched_again` |
//! | API: hangs | `api_faults::an_answer_that_never_comes_holds_up_nothing_and_is_asked_for_again` |
//! | API: drips | `api_faults::an_answer_that_drips_is_read_to_its_end`, `api_faults::an_answer_that_drips_for_ever_is_given_up` |
//! | API: cut short, garbage, wrong shape, 4xx, 5xx, over 16 MiB | `api_faults::a_workflow_survives_every_kind_of_garbage` |
//! | API: lies about its length | the same, `api_faults::an_answer_longer_than_it_says_answers_nothing_else` |
//! | API: backoff | `api_faults::errors_are_never_answered_by_polling_faster_than_the_interval`, `api_faults::the_pauses_after_failures_grow_and_end_with_them` |
//! | API: slow | `api_faults::a_slow_api_is_asked_by_few_over_connections_that_are_kept` |
//! | API: hangs, and another does not | `monitors::an_api_that_hangs_holds_up_no_other_monitor` |
//! | API: goes away with its workflow | `monitors::a_workflow_that_takes_its_api_along_has_ended` |
//! | API: redirects | `api_faults::redirects_are_followed_on_the_same_host_only` |
//! | API: 429, 503 with Retry-After | `api_faults::a_host_that_asks_for_a_pause_by_seconds_gets_it_for_all_workflows`, `api_faults::a_host_that_asks_for_a_pause_by_date_gets_it_for_all_workflows` |
//! | API: 401, 403 (there is no `readyz` yet) | `api_faults::the_token_is_sent_and_a_refusal_is_tried_again`, `api_faults::a_lasting_refusal_is_logged_once`, `polite::of_two_monitors_with_wrong_tokens_both_are_named`, `trace::what_cannot_be_told_beside_what_can`, `living::a_token_that_is_mended_is_tried_soon` |
//! | API: a budget of requests is spent | `polite::a_budget_that_is_spent_is_no_wrong_token`, `polite::the_last_request_of_a_budget_is_the_last_one`, `polite::a_refusal_with_a_time_is_no_wrong_token` |
//! | API: a token lapses, is revoked, cannot be had | `auth::a_token_is_renewed_before_it_lapses`, `auth::a_login_is_renewed_before_its_token_lapses`, `auth::client_credentials_are_asked_for_once_and_again_when_they_are_refused`, `auth::a_token_endpoint_that_is_down_is_waited_for`, `auth::a_token_that_is_never_taken_is_no_endless_loop` |
//! | API: pages without end, a page that fails | `pages::a_cursor_that_never_ends_does_not_hold_up_the_poll`, `pages::a_page_that_fails_is_asked_for_again_with_the_whole_poll` |
//! | API: gone with its workflow | `playback::spark` |
//! | API, collector: untrusted | `tls::a_certificate_of_an_unknown_authority_is_refused_and_logged`, `tls::check_says_which_certificate_it_does_not_trust` |
//! | collector: down, away for a burst | `collector::a_collector_that_refuses_connections_gets_everything_once_it_is_up`, `collector::a_collector_that_goes_away_and_comes_back_misses_nothing`, `burst::a_collector_that_is_down_for_a_whole_burst_gets_everything_in_order`, `durable::a_collector_that_is_not_there_at_any_start_gets_everything_in_the_end` |
//! | collector: 400 and other refusals | `collector::a_rejected_batch_is_set_aside_and_holds_up_nothing` |
//! | collector: 413 | `collector::a_batch_that_is_too_large_is_split`, `collector::a_single_span_that_is_too_large_is_set_aside` |
//! | collector: 429, 502, 503, 504 | `collector::what_may_pass_is_tried_again_with_the_same_bytes`, `collector::retry_after_is_honoured`, `collector::while_the_collector_is_down_polling_goes_on` |
//! | collector: hangs, slow | `collector::a_collector_that_hangs_is_given_up_after_the_timeout`, `collector::a_collector_that_is_slow_gets_everything_once` |
//! | collector: partial success | `collector::a_partial_success_is_a_success_that_is_told` |
//! | collector: connection closed, reset, garbage | `collector::a_connection_that_breaks_after_the_request_means_the_same_bytes_again`, `collector::connections_that_are_reset_lose_nothing`, `collector::garbage_for_an_answer_does_not_stop_the_export` |
//! | collector: away for the metrics, silent at the stop | `otlp_metrics::a_collector_that_is_away_is_said_once_and_gets_the_sums_later`, `otlp_metrics::a_collector_that_is_silent_holds_up_no_stop` |
//! | receiver of finished events: down, away, hangs up, refuses, asks for a pause | `notify::a_receiver_that_is_down_hears_everything_in_order_once_it_is_up`, `notify::what_a_receiver_answers_decides_whether_it_is_told_again`, `notify::an_event_whose_answer_was_lost_is_told_again_with_the_same_bytes`, `notify::killed_before_the_notification_it_notifies_after_the_restart`, `notify::what_the_dead_had_to_tell_the_others_do` |
//! | Redis: stopped, restarted | `intake::a_redis_that_restarts_is_subscribed_again_and_watching_goes_on`, `intake::a_redis_that_is_down_at_the_start_is_waited_for`, `streams::a_stream_that_is_gone_is_made_anew`, `fleet::redis_bounced_and_everything_kept`, `fleet::redis_bounced_and_everything_forgotten` |
//! | Redis: frozen | `intake::a_redis_that_fell_silent_is_missed_since_it_did` |
//! | Redis: slow, dripping, a black hole, cut off | `slow_redis::a_channel_that_is_slow_silent_or_cut_off`, `slow_redis::a_stream_that_is_slow_silent_or_cut_off_loses_nothing`, `slow_redis::a_store_that_is_slow_silent_or_cut_off_loses_nothing`, `slow_redis::a_silent_redis_holds_up_no_stop`, `slow_redis::a_redis_that_drips_holds_up_neither_answers_nor_the_watchdog_nor_the_stop`, `intake::an_event_that_comes_in_pieces_is_whole` |
//! | Redis: wrong password, ACL | `intake::a_redis_that_refuses_the_password_is_tried_again`, `intake::a_missing_password_for_redis_is_named`, `intake::a_channel_that_redis_forbids_is_named_once_with_its_rule_and_tried_again`, `sources::a_channel_that_redis_forbids_makes_no_other_one_deaf`, `streams::a_call_that_redis_forbids_is_named_with_its_rule_and_tried_ever_more_rarely`, `notify::a_receiver_in_redis_that_the_acl_forbids_is_named_with_its_rule`, `fleet::a_wrong_password_is_told_at_once`, `fleet::what_the_acl_forbids_is_told_at_once` |
//! | Redis: TLS | `tls::redis_behind_tls_for_the_channel_the_stream_and_the_store`, `tls::a_redis_with_a_certificate_of_an_unknown_authority_hears_nothing`, `tls::a_redis_whose_tls_falls_silent_is_missed_and_found_again` |
//! | disk full | `durable::with_a_full_disk_everything_waits_and_nothing_is_lost`, `durable::with_a_file_that_may_not_grow_everything_waits_and_nothing_is_lost`, `durable::killed_with_a_full_disk_it_loses_nothing_of_a_stream`, `durable::a_start_with_a_full_disk_is_an_error_and_keeps_what_there_is` |
//! | state directory read-only, unusable, damaged, in use | `durable::what_may_not_be_written_is_an_error_and_stays_as_it_is`, `durable::a_directory_that_cannot_be_used_is_named`, `durable::a_damaged_file_is_set_aside_and_watching_goes_on`, `durable::a_second_instance_on_the_same_directory_is_refused` |
//! | clock set | `clocks::a_clock_that_is_set_while_it_watches_changes_nothing`, `clocks::a_clock_that_is_set_between_two_lives_moves_no_deadline_out_and_no_id`, `clocks::a_clock_that_is_set_holds_up_no_fleet_for_longer_than_a_lease` |
//! | list of runs: fails, asks for a pause, hangs, long | `discovery::a_list_that_fails_is_asked_for_less_often_and_then_found_again`, `discovery::a_list_that_asks_for_a_pause_gets_it_and_holds_up_no_stop`, `discovery::runs_by_the_thousand_are_told_once` |
//! | list of runs and polls: a pause, a budget, a rate | `discovery::a_pause_that_a_list_is_asked_for_is_one_for_polls_too`, `discovery::a_budget_that_a_list_has_spent_is_spent_for_polls_too`, `discovery::a_pause_that_a_poll_is_asked_for_is_one_for_lists_too`, `discovery::a_rate_holds_for_polls_and_lists_together` |
//! | a run is listed and announced | `discovery::a_run_that_is_listed_and_announced_is_traced_once`, `discovery::in_a_fleet_too_a_run_that_is_listed_and_announced_is_traced_once` |
//! | hostile events | `hostile::over_pubsub`, `hostile::in_a_stream`, `intake::malformed_events_by_the_hundred_stop_nothing`, `intake::no_id_leaves_its_path`, `streams::malformed_entries_are_kept_apart_and_stop_nothing` |
//! | the unit of systemd: a stall, a kill, a mistake, credentials | `unit::a_stall_and_a_kill_end_in_a_restart_that_goes_on_with_each_trace`, `unit::a_mistake_in_the_environment_file_is_not_started_again`, `unit::the_credentials_of_the_unit_reach_the_api_and_redis` |
//! | SIGTERM | `stopping::a_stop_lets_the_poll_end_and_exports_what_it_finished`, `stopping::a_stop_flushes_what_waits_for_a_batch`, `stopping::a_second_signal_ends_it_at_once`, `collector::a_stop_gives_up_a_collector_that_stays_down`, `durable::a_stop_keeps_what_no_collector_took` |
//! | kill -9 | `chaos::however_often_it_is_killed_every_workflow_is_one_whole_trace`, `chaos::however_often_it_is_killed_with_its_state_in_redis_too`, `durable::killed_between_two_stages_it_goes_on_with_the_same_trace`, `durable::killed_while_the_collector_is_down_it_delivers_what_waited_once`, `durable::what_was_acknowledged_is_not_sent_again`, `streams::a_killed_farspan_goes_on_with_what_it_had_read`, `fleet::one_killed_one_frozen_and_nothing_lost`, `fleet::one_killed_and_each_monitors_stream_is_acknowledged_for_itself`, `playback::killed_in_the_middle_of_a_recording_it_tells_the_same`, `playback::killed_in_the_middle_of_spark_it_tells_the_same`, `services::killed_while_the_collector_is_down_each_span_keeps_its_resource`, `services::who_takes_over_sends_each_span_under_its_resource` |
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly, and its support may offer more than is used today"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod api_faults;
mod auth;
mod backpressure;
mod burst;
mod carriers;
mod chain;
mod chaos;
mod charts;
mod clocks;
mod collector;
mod commands;
mod compose;
mod contexts;
mod deploy;
mod discovery;
mod durable;
mod early;
mod embedded;
mod fleet;
mod hostile;
mod idle;
mod intake;
mod json;
mod living;
mod log;
mod mappings;
mod metrics;
mod monitors;
mod notify;
mod openapi;
mod otlp_metrics;
mod page;
mod pages;
mod pasted;
mod playback;
mod polite;
mod probe;
mod programs;
mod proxies;
mod secrets;
mod selftest;
mod services;
mod settings;
mod slow_redis;
mod sources;
mod stopping;
mod stories;
mod streams;
mod terminals;
mod tls;
mod top;
mod trace;
mod unit;
mod viewers;
