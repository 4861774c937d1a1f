"""TFLite Support's metadata reader: `python support_metadata.py MODEL`.

Prints {"metadata": its JSON, "files": {name: text}}.
"""

import json
import sys

from tflite_support import metadata

displayer = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
names = displayer.get_packed_associated_file_list()
files = {name: displayer.get_associated_file_buffer(name).decode() for name in names}
print(json.dumps({"metadata": json.loads(displayer.get_metadata_json()), "files": files}))
