"""The laboratory: it judges holdgate and shows it. A package of its own in the same wheel, which holdgate does not import."""
