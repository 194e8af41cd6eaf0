"""The dock "Refine dendrites": boxes to masks, masks through sections, one edit. Qt only here."""
