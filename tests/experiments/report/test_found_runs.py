from alignsam_gym.experiments.report.found_runs import finished_folders


def test_evaluations_in_a_runs_own_folder_are_no_runs_beside_it(tmp_path):
    folders = [tmp_path / place for place in ("a", "a/evaluation", "b/seed=0", "b/seed=0/steps")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "metrics.json").touch()
    assert finished_folders([tmp_path]) == [folders[0], folders[2]]
