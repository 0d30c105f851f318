"""The Service `default/kubernetes`, put back when somebody deletes or changes it."""
