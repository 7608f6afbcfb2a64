"""What leaves the registry: bytes, and descriptions of them for other people's tools.

- `pull`: a version's bytes, checked before they are moved into place
- `oci`: a version as an OCI artifact with its record and signature beside it
- `oci_reference`, `distribution`, `wire`, `credentials`: names of OCI artifacts, and their registries' HTTP protocol
- `model_repository`: a version in the layout of model servers, in a folder or S3
- `kserve`, `argo`: Kubernetes manifests that say what the channels say

Nothing here changes the registry's state.
"""
