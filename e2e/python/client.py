"""Talks to a cluster's registry as an operator's own tooling would: grpcio, server reflection and a client certificate, nothing generated.

Usage: client.py REGISTRY CA CERT KEY NODE NODE_CERT NODE_KEY. Prints one JSON object with what it found; exits non-zero when a call that
has to work fails, or when one that has to be refused is not.
"""

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "shoal.registry.v1.Registry"
DEADLINE = 10


def channel(address, ca, cert=None, key=None):
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    credentials = grpc.ssl_channel_credentials(read(ca), key and read(key), cert and read(cert))
    return grpc.secure_channel(address, credentials)


class Registry:
    """Calls methods by name with messages learnt from the server itself."""

    def __init__(self, channel):
        self.channel = channel
        database = ProtoReflectionDescriptorDatabase(channel)
        self.services = list(database.get_services())
        self.descriptor = DescriptorPool(database).FindServiceByName(SERVICE)

    def call(self, rpc, over=None, **fields):
        method = self.descriptor.FindMethodByName(rpc)
        request = GetMessageClass(method.input_type)(**fields)
        response = GetMessageClass(method.output_type)
        stub = (over or self.channel).unary_unary(
            f"/{SERVICE}/{rpc}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return stub(request, timeout=DEADLINE)


def code_of(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def main():
    address, ca, cert, key, node, node_cert, node_key = sys.argv[1:]
    operator = channel(address, ca, cert, key)
    registry = Registry(operator)
    health = health_pb2_grpc.HealthStub(operator).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=DEADLINE)
    listed = registry.call("ListInstances")
    drained = registry.call("SetAdminState", name=node, admin_state=2, reason="a test in Python")
    ready = registry.call("SetAdminState", name=node, admin_state=1, reason="a test in Python")
    as_node = channel(address, ca, node_cert, node_key)
    found = {
        "services": registry.services,
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(health.status),
        "instances": sorted(status.instance.name for status in listed.instances),
        "drained": drained.status.admin_state,
        "ready": ready.status.admin_state,
        "unknown_node": code_of(lambda: registry.call("SetAdminState", name="nobody", admin_state=2)),
        "as_a_node": code_of(lambda: registry.call("SetAdminState", over=as_node, name=node, admin_state=2)),
        "without_certificate": code_of(lambda: registry.call("ListInstances", over=channel(address, ca))),
    }
    print(json.dumps(found))


main()
