"""The local image catalogue: directories with an image.yaml. Used by kubelet and cli; runs nothing."""
