"""Custom resources: the rules for definitions, and those that a definition makes for its objects. Pure.

`kind` is the strategy of CustomResourceDefinition itself, `structural` judges the schemas in it. `definition` turns an
accepted one into a served row; `schema` prunes and defaults its objects, `validation` judges them, `strategy` is what
the registry calls, `scale` and `columns` show them otherwise. Nothing here is imported before there is a definition.
"""
