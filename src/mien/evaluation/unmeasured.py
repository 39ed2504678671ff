"""What a report did not measure; it is listed in the report."""

from typing import Any


def not_measured(report: dict[str, Any]) -> list[str]:
    """One sentence for each thing that a reader might take for granted and that was not looked at."""
    model, data = report["model"], report["data"]
    known = report["figures"] is not None
    lines = []
    if not known:
        lines.append(f"Everything that needs labels: those of {data['split']} are held back.")
    if data["images"] < data["of"]:
        lines.append(f"The other {data['of'] - data['images']:,} images of {data['split']}.")
    if data["near_duplicates_in_training"] is None:
        lines.append("Leak-free figures: the store does not say which images have a near-duplicate in Training.")
    if model["kind"] == "predictions":
        lines.append("Whether the tool that made these predictions had seen the images, or their copies, in training.")
        lines.append("Its speed, and its confidence after calibration: a file holds neither.")
        if report["predictions"]["answers_only"]:
            lines.append(
                "Top-2 accuracy, NLL, Brier score and calibration: the file has answers without probabilities."
            )
    elif report["detector"] == "none":
        lines.append("Finding the face: every image was taken as one face crop (--detector yunet measures both).")
    else:
        lines.append("Calibration on held-out images, and the reader without its detector (--detector none).")
    if report["views"] == 1 and report["detector"] == "none":
        lines.append("Ten-crop averaging (--tta).")
    if "votes" not in report and known:
        lines.append("Agreement with FER+ votes: the store has none for these images.")
    if "groups" not in report:
        lines.append("Differences between groups of people: no --group-by was given.")
    lines.append("The spread between training runs: intervals are over images, for this one set of weights.")
    lines.append(
        f"Pictures of another kind than {data['split']}'s: other data sets, cameras, cultures, ages, and video."
    )
    lines.append("What people feel: labels are what others read into a face.")
    return lines
