"""The artifact store: versions, manifests, atomic and resumable builds, verification."""
