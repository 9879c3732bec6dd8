"""The real models that tests run, by their paths in the corpus."""

from __future__ import annotations

__all__ = ["NETWORKS", "PROGRAMS", "WITH_LISTS"]

PROGRAMS = [
    "models/hand_detector.mlpackage",
    "models/nmp.mlpackage",
    "models/silero-vad-decoder-v6.0.0.mlpackage",
    "models/silero-vad-encoder-v6.0.0.mlpackage",
    "models/tiny.mlpackage",
    "pairs/silero-int8/unified_int8.mlpackage",
    "pairs/silero-mixed/unified_mixed.mlpackage",
    "pairs/silero-palette-2bit/unified_palette_2bit.mlpackage",
    "pairs/silero-palette-8bit/unified_palette_8bit.mlpackage",
    "pairs/silero-pruned-int8/unified_pruned_int8.mlpackage",
    "pairs/silero-unified/silero-vad-unified-v6.0.0.mlpackage",
]

WITH_LISTS = ["models/DTLN_AEC_128_Part1.mlpackage", "models/DTLN_AEC_128_Part2.mlpackage"]
"""Programs that keep lists of tensors."""

NETWORKS = [
    "models/Digits.mlmodel",
    "models/TinyDrawingEmbedding.mlmodel",
    "models/dentastix_224x224_35_small_1558378313.mlmodel",
    "models/hair_segmentation_mobilenet_256x256_5_1568564884.mlmodel",
    "models/horses_on_seashore_512x512_a025_stable_flexible.mlmodel",
    "models/human_pose_mobilenet_353x257_5_8_large_1569859486.mlmodel",
    "models/identity.mlmodel",
    "models/people_segmentation_mobilenet_256x256_75_1568565137.mlmodel",
    "models/pose_mobilenet_260x200_5_8_large_1567123257.mlmodel",
    "models/rigid_style_model.mlmodel",
    "models/short.mlpackage",
    "pairs/find-four/FindFour.mlmodel",
    "pairs/image-quality/ImageQualityCP20.mlmodel",
    "pairs/mnist-classifier/MNISTClassifier.mlmodel",
    "pairs/ssd-ocr/SSDOcr.mlmodel",
    "pairs/waifu2x-anime-noise1/anime_noise1_model.mlmodel",
    "pairs/waifu2x-photo-noise0/photo_noise0_model.mlmodel",
    "pairs/waifu2x-up-anime/up_anime_scale2x_model.mlmodel",
]
