"""Where Fanlight meets protobuf and gRPC: the codec, the error table, the server shell."""
