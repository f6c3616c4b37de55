from __future__ import annotations

import json
import sys
import time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.onnx_cases.cases import collect
from scripts.onnx_cases.check import check_artifacts, check_onnxruntime
import tvm
t=time.time()
cases = collect()
print('collected', time.time()-t)
if len(sys.argv)>2: cases=[c for c in cases if __import__('re').search(sys.argv[2],c.name)]
for name, f in (('ours',check_artifacts),('ort',check_onnxruntime)):
    t=time.time()
    r=f(cases, lambda n: print(n, round(time.time()-t), flush=True))
    print(name, sum(v is None for v in r.values()), len(r), round(time.time()-t))
    Path(sys.argv[1]+'.'+name+'.json').write_text(json.dumps(r,indent=0))
