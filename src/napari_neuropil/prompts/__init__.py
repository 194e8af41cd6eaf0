"""From boxes to masks: detectors, prompts, segmenters, and objects linked through sections.

Masks and boxes are those of one section, (y, x) in its pixels. Detectors and segmenters stand
behind two protocols (`detector`, `segmenter`), so that everything else is tested without a network
and works with any.
"""
