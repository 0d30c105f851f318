"""The published types of every served kind: which fields exist, of which type, how lists merge.

`types.py` reads them from `schema.json.gz`, which `tools/generate_schema.py` writes from Kubernetes' own OpenAPI.
apis.scheme checks and prunes with them, registry takes the strategic-merge rules, apiserver renders OpenAPI. Never
defaults or validates values: that is apis' own business.
"""
