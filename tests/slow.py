"""Tests that `make test` leaves to `make test-all`, so that it can be run often: whole files,
whatever uses one of the fixtures named here, and single tests."""

SLOW = {
    # They start other programs: a browser, the build of the book, kernels, make.
    "html",
    "small_tree",
    "test_access.py",
    "test_book.py",
    "test_browser.py",
    "test_drawing.py",
    "test_lost.py",
    "test_pdf.py",
    "test_questions.py",
    "test_runner.py",
    "test_supply.py",
    "test_sweep.py",
    "test_a_chapter_whose_figure_changed_calls_no_engine_and_prints_the_same",
    "test_settings_of_the_process_change_nothing",
    # They run what the chapters and pages run.
    "test_the_examples_run_in_the_order_of_the_page",
    "test_the_library_finds_what_is_found_by_hand",
    "test_welcome_example",
    # Solves of many seconds that repeat, more sharply or at more widths, what quicker tests see.
    "test_large.py",
    "test_deeper_and_wider_ones_are_distributed_as_networks",
    "test_a_row_of_the_committed_result_is_measured_again",
    "test_float32_is_float64_rounded",
    "test_gated_linear_networks_are_exact_only_given_their_gates",
    "test_responses_have_one_gradient_an_output",
    "test_squared_error_is_the_mean_over_single_networks",
    "test_gates_do_not_jump_with_h_and_one_hidden_layer_has_no_responses",
    "test_what_no_derivative_of_one_neuron_shows_is_refused",
    "test_until_cuts_runs_and_ensembles",
}
