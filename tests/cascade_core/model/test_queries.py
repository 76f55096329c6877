"""Class queries."""

import torch

from cascade_core.model.queries import ClassQuery


def test_the_descriptor_joins_product_and_text_in_this_order() -> None:
    query = ClassQuery(6, "relationship_descriptor")
    pictures, classes = torch.randn(2, 6), torch.randn(4, 6)
    queries = query(pictures, classes, query.text_terms(classes))
    for b in range(2):
        for c in range(4):
            joined = torch.cat([pictures[b] * classes[c], classes[c]])
            torch.testing.assert_close(queries[b, c], query.proj.weight @ joined + query.proj.bias)


def test_the_picture_gets_a_gradient_through_the_descriptor() -> None:
    pictures, classes = torch.randn(2, 6, requires_grad=True), torch.randn(4, 6)
    query = ClassQuery(6, "relationship_descriptor")
    query(pictures, classes, query.text_terms(classes)).sum().backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0


def test_a_text_query_is_the_same_for_every_picture() -> None:
    query = ClassQuery(6, "text")
    classes = torch.randn(4, 6)
    queries = query(torch.randn(3, 6), classes, query.text_terms(classes))
    assert queries.shape == (3, 4, 6)
    torch.testing.assert_close(queries, query.proj(classes).expand(3, 4, 6))
