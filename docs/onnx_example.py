"""A network of affect_nb in an ONNX file, run by onnxruntime, numpy and opencv alone.

    affect_nb export-model facebehaviornet-small net.onnx
    python onnx_example.py net.onnx face.png             a face that is aligned already
    python onnx_example.py net.onnx photo.jpg x1 y1 ... x5 y5
                            both eyes, nose tip and mouth corners in a photograph, px: the face is aligned by them
"""
import json
import sys

import cv2
import numpy as np
import onnxruntime

path, picture, *numbers = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map # what the file says about itself
alignment = json.loads(about["alignment"])
image, side = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB), alignment["size"]
if numbers: # the least-squares affine transform of the five points to those of a frontal face
    points = np.column_stack([np.array(numbers, float).reshape(5, 2), np.ones(5)])
    matrix = np.linalg.lstsq(points, np.array(alignment["template"]), rcond=None)[0].T
    factor = int(1/np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if factor > 1: # a face larger than the crop is first made so many times smaller, or its details would alias
        square = side*np.array([[(0., 0.), (1, 0), (0, 1), (1, 1)]])
        corners = cv2.transform(square, cv2.invertAffineTransform(matrix))[0]
        left, top = np.maximum(0, corners.min(0).astype(int) - factor)
        wide, high = (np.minimum(corners.max(0).astype(int) + factor, image.shape[1::-1]) - (left, top))//factor
        part = image[top:top + high*factor, left:left + wide*factor]
        image = cv2.resize(part, (int(wide), int(high)), interpolation=cv2.INTER_AREA)
        middle = (factor - 1)/2 # of a pixel's square
        matrix = matrix @ np.array([(factor, 0, left + middle), (0, factor, top + middle), (0, 0, 1)])
    face = cv2.warpAffine(image, matrix, (side, side))
else: face = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
faces = (face.transpose(2, 0, 1)[None, None].astype(np.float32) - 127.5)/127.5 # (batch, time, 3, height, width)
values = session.run(None, {"faces": faces})
for output, (row,) in zip(json.loads(about["outputs"]), (value[0] for value in values)):
    for column, value in zip(output["columns"], row): print(f"{column:10} {np.clip(value, -1, 1):.6f}")
