"""What an operator's monitoring is told, in Prometheus' words, and how workers count it together.

What happens per request is counted in memory that all workers share (`memory`), at the cost of a
few additions; names and texts are only put to it when somebody asks (`collector`).
"""
