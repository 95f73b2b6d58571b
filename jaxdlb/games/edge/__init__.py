"""Serverless functions at the network's edge: shares of requests to process, forward and refuse."""
