"""Checks Kubernetes documents against the typed objects of Kubernetes, unknown fields refused, and prints them as JSON.

Usage: kubernetes.py FILE. Prints {"documents": [...], "problems": [...], "untyped": [...]}; untyped are kinds that Kubernetes itself does not have.
"""

import json
import sys

import kubernetes_validate
import yaml


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document is not None]
    version = kubernetes_validate.latest_version()
    problems, untyped = [], []
    for document in documents:
        name = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{name}: {'.'.join(str(step) for step in error.path)}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            untyped.append(document.get("kind"))
    print(json.dumps({"documents": documents, "problems": problems, "untyped": untyped}))


main()
