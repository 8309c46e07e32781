"""Ground truth and detections of runs in FiftyOne's App: data sets, saved views, edits. FiftyOne is imported only here."""
