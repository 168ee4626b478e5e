"""A LangChain vector store over a collection; needs `pip install 'fanlight[langchain]'`.

    with fanlight.Client() as client:
        store = FanlightVectorStore(client.collection("notes"), embedding)
        store.add_texts(["a note"], [{"year": 2026}])
        store.similarity_search("which note?", k=4, filter={"year": {"gte": 2020}})

The collection has string ids; `FanlightVectorStore.create` makes one that fits an embedding. Text and
metadata of a document stand in the payload, as `text` and beside it; fields to filter by are
declared when the collection is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from fanlight.client import Client, Collection
from fanlight.conditions import FilterLike
from fanlight.model import Hits

# The key of a payload that holds the document's text.
TEXT = "text"


class FanlightVectorStore(VectorStore):
    """Documents in a collection of a Fanlight cluster; as thread-safe as its client."""

    def __init__(self, collection: Collection, embedding: Embeddings) -> None:
        """Take a collection with string ids and the embedding that its vectors come from."""
        self._collection = collection
        self._embedding = embedding

    @classmethod
    def create(
        cls,
        client: Client,
        name: str,
        embedding: Embeddings,
        *,
        filterable: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> FanlightVectorStore:
        """Make a collection that fits an embedding, or take the one that is there.

        Args:
            client: of the cluster.
            name: of the collection.
            embedding: is asked once, for the dimension.
            filterable: fields of the metadata to filter by, as `Client.create_collection` takes.
            **parameters: of `Client.create_collection`: metric, m, ef_construction.
        """
        dim = len(embedding.embed_query("dimension"))
        collection = client.create_collection(
            name, dim=dim, id_type="string", filterable=filterable, **parameters
        )
        return cls(collection, embedding)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        client: Client | None = None,
        name: str = "langchain",
        **kwargs: Any,
    ) -> FanlightVectorStore:
        """Make a store and add texts.

        Args:
            texts: the texts.
            embedding: turns them into vectors.
            metadatas: one a text.
            ids: one a text; None to make some.
            client: of the cluster; None for one of localhost:7700.
            name: of the collection.
            **kwargs: as for `create`.
        """
        store = cls.create(client or Client(), name, embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """Give the embedding."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts; when it returns they are on disk, and the next search finds them.

        Returns:
            Their ids; an id that exists is replaced.

        Raises:
            ValueError: another number of metadatas or ids than of texts.
            FanlightError: as `Collection.upsert` does.
        """
        contents = list(texts)
        about = [{} for _ in contents] if metadatas is None else metadatas
        given: Sequence[str | None] = [None] * len(contents) if ids is None else ids
        if not len(contents) == len(about) == len(given):
            raise ValueError(f"{len(contents)} texts, {len(about)} metadatas, {len(given)} ids")
        chosen = [uuid.uuid4().hex if value is None else value for value in given]
        if contents:
            vectors = self._embedding.embed_documents(contents)
            payloads = [{**m, TEXT: text} for m, text in zip(about, contents, strict=True)]
            self._collection.upsert(chosen, np.array(vectors, np.float32), payloads, **kwargs)
        return chosen

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete documents; unknown ids are no error.

        Raises:
            ValueError: no ids were given: deleting all is `Client.delete_collection`.
        """
        if ids is None:
            raise ValueError("give ids; Client.delete_collection deletes all documents")
        if ids:
            self._collection.delete(ids, **kwargs)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Read documents; unknown ids are left out."""
        if not ids:
            return []
        found = self._collection.get(list(ids), with_vectors=False)
        payloads = found.payloads or []
        return [_document(i, p) for i, p in zip(found.ids.tolist(), payloads, strict=True)]

    def similarity_search(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **kwargs: Any
    ) -> list[Document]:
        """Find the documents nearest to a text.

        Args:
            query: the text.
            k: documents wanted.
            filter: conditions on filterable fields; see docs/filters.md.
            **kwargs: of `Collection.search`: ef_search, exact, score_threshold, timeout.
        """
        found = self.similarity_search_with_score(query, k, filter=filter, **kwargs)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Find documents and their scores: larger is better."""
        vector = self._embedding.embed_query(query)
        return _scored(self._search(vector, k, **kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Find the documents nearest to a vector."""
        return [document for document, _ in _scored(self._search(embedding, k, **kwargs))]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Find documents that are near a vector and unlike each other."""
        hits = self._search(embedding, fetch_k, with_vectors=True, **kwargs)
        documents = [document for document, _ in _scored(hits)]
        assert hits.vectors is not None
        vectors = list(hits.vectors[0, : len(documents)])
        query = np.array(embedding, dtype=np.float32)
        chosen = maximal_marginal_relevance(query, vectors, lambda_mult, k)
        return [documents[place] for place in chosen]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Find documents that are near a text and unlike each other."""
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, **kwargs
        )

    def _search(self, vector: list[float], k: int, **kwargs: Any) -> Hits:
        query = np.array(vector, dtype=np.float32)
        return self._collection.search(query, k=k, with_payloads=True, **kwargs)

    def _select_relevance_score_fn(self) -> Any:
        """Give what turns a cosine in [-1, 1] into a relevance in [0, 1]."""
        return lambda score: (score + 1.0) / 2.0


def _scored(hits: Hits) -> list[tuple[Document, float]]:
    payloads = (hits.payloads or [[]])[0]
    count = len(payloads)
    found = zip(hits.ids[0, :count].tolist(), hits.scores[0, :count].tolist(), strict=True)
    return [(_document(i, p), score) for (i, score), p in zip(found, payloads, strict=True)]


def _document(value: str, payload: dict[str, Any] | None) -> Document:
    metadata = dict(payload or {})
    return Document(id=value, page_content=str(metadata.pop(TEXT, "")), metadata=metadata)
