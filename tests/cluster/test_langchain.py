"""LangChain's own tests of vector stores, on a cluster of real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

import fanlight
from fanlight.langchain import FanlightVectorStore


@pytest.mark.slow
class TestStandard(VectorStoreIntegrationTests):
    """What every vector store of LangChain must pass."""

    @pytest.fixture
    def vectorstore(self, client: fanlight.Client) -> Iterator[VectorStore]:
        """Give an empty store."""
        yield FanlightVectorStore.create(client, "langchain", self.get_embeddings())
        client.delete_collection("langchain")


@pytest.fixture
def store(client: fanlight.Client) -> Iterator[FanlightVectorStore]:
    embedding = DeterministicFakeEmbedding(size=8)
    texts = ["one", "two", "three"]
    about = [{"year": 2020}, {"year": 2021}, {"year": 2022}]
    yield FanlightVectorStore.from_texts(
        texts, embedding, about, client=client, name="texts", filterable={"year": "int"}
    )
    client.delete_collection("texts")


@pytest.mark.slow
def test_filters_and_scores(store: FanlightVectorStore) -> None:
    """A text finds itself with cosine 1, and filters hold."""
    ((document, score), *_) = store.similarity_search_with_score("two", k=3)
    assert (document.page_content, document.metadata) == ("two", {"year": 2021})
    assert score == pytest.approx(1.0, abs=1e-6)
    found = store.similarity_search("two", k=3, filter={"year": {"gte": 2022}})
    assert [document.page_content for document in found] == ["three"]
    ((_, relevance), *_) = store.similarity_search_with_relevance_scores("two", k=1)
    assert relevance == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
def test_marginal_relevance_leaves_out_copies(store: FanlightVectorStore) -> None:
    """Two documents with one text: the second is not relevant any more."""
    store.add_documents([Document("two"), Document("two")])
    near = [d.page_content for d in store.similarity_search("two", k=3)]
    varied = [
        d.page_content for d in store.max_marginal_relevance_search("two", 3, lambda_mult=0.1)
    ]
    assert near.count("two") == 3
    assert sorted(varied) == ["one", "three", "two"]
