"""MediaPipe's ImageClassifier on PNG files: `python mediapipe_classify.py MODEL PICTURE...`.

Prints {"refused": text}, or {"answers": [{label: score} for each picture, best first]}.
"""

import json
import sys

import mediapipe
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

model, *pictures = sys.argv[1:]
options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=-1)
try:
    classifier = ImageClassifier.create_from_options(options)
except (ValueError, RuntimeError) as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
with classifier:
    results = [classifier.classify(mediapipe.Image.create_from_file(picture)) for picture in pictures]
answers = [{c.category_name: c.score for c in result.classifications[0].categories} for result in results]
print(json.dumps({"answers": answers}))
