"""Tests outside the unit part, which `make unit` runs and which is to take 3 minutes on two free cores: whole files,
whatever uses one of the fixtures named here, and single tests."""

SLOW = {
    # They start other programs: a browser, the build of the book, kernels, make.
    "html",
    "small_tree",
    "test_book.py",
    "test_browser.py",
    "test_commands.py",
    "test_lost.py",
    "test_mutants.py",
    "test_runner.py",
    "test_supply.py",
    "test_sweep.py",
    "test_the_date_of_stored_outputs_is_that_of_their_commit",
    # Solves of many seconds that repeat, more sharply or at more widths, what quicker tests see.
    "test_error_estimates.py",
    "test_a_theory_point_of_the_committed_result_is_measured_again",
    "test_accuracy_against_wide_networks",
    "test_error_estimates_cover_the_truth_as_often_as_they_claim",
    "test_networks_approach_them_as_one_over_N",
    "test_too_little_room_grows_and_changes_nothing",
}
