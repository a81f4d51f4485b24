// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import java.util.ArrayList;
import java.util.List;

/// One observation of all calibration sequences, added up in a fixed tree: a leaf is [#LEAF] chunks
/// of sequences in their order, and leaf `2 i` is merged with leaf `2 i + 1`, pair `2 i` with pair
/// `2 i + 1`, and so on.
///
/// The tree follows from the number and the length of the sequences alone. So whoever adds up whole
/// leaves or whole subtrees, on whatever device or machine, comes to the same bytes. As in a binary
/// counter, at most one partial of each height waits for its neighbour.
public final class SumTree<X, S> implements AutoCloseable {
    /// Chunks of a leaf. Merging reads and writes a partial once a leaf, adding up computes with it
    /// in every chunk: docs/adr/0014-one-tree-of-sums.md has the figures.
    static final int LEAF = 32;

    private final Observer<X, S> observer;
    private final Backend backend;
    private final int chunksOfLeaf;

    /// By height; null where none waits.
    private final List<Node<S>> waiting = new ArrayList<>();

    private Node<S> leaf;
    private int leaves;

    /// @param memory null where partials take none
    private record Node<S>(S sum, TensorArena memory) {
        void close() {
            if (memory != null) {
                memory.close();
            }
        }
    }

    public SumTree(Observer<X, S> observer, Backend backend) {
        this(observer, backend, LEAF);
    }

    SumTree(Observer<X, S> observer, Backend backend, int chunksOfLeaf) {
        this.observer = observer;
        this.backend = backend;
        this.chunksOfLeaf = chunksOfLeaf;
    }

    /// Partials that there are at once, at most.
    ///
    /// @param windows sequences
    /// @param length tokens of each
    public static int partials(int windows, int length) {
        int chunks = Math.ceilDiv(windows, HiddenStates.windowsPerChunk(length));
        int all = Math.ceilDiv(chunks, LEAF);
        return all <= 1 ? 1 : 1 + Integer.SIZE - Integer.numberOfLeadingZeros(all - 1);
    }

    /// @param chunk that x belongs to; they come in order, each as often as there is something to
    ///   see of it
    public void see(int chunk, X x) {
        while (leaves < chunk / chunksOfLeaf) {
            endLeaf();
        }
        if (leaf == null) {
            leaf = empty();
        }
        leaf = new Node<>(observer.see(leaf.sum, x), leaf.memory);
    }

    @SuppressWarnings("MustBeClosed") // closed with the node
    private Node<S> empty() {
        TensorArena memory = observer.bytes() == 0 ? null : backend.newArena(observer.bytes());
        return new Node<>(observer.empty(new Desk(backend, memory)), memory);
    }

    private void endLeaf() {
        Node<S> node = leaf;
        leaf = null;
        int height = 0;
        for (int i = leaves++; (i & 1) == 1; i >>= 1) {
            node = merged(waiting.set(height++, null), node);
        }
        if (height == waiting.size()) {
            waiting.add(null);
        }
        waiting.set(height, node);
    }

    private Node<S> merged(Node<S> a, Node<S> b) {
        if (a == null || b == null) {
            return a == null ? b : a;
        }
        Node<S> both = new Node<>(observer.merge(a.sum, b.sum), a.memory);
        b.close();
        return both;
    }

    /// Of all that was seen. Its memory is this tree's.
    public S total() {
        Node<S> total = leaf;
        leaf = null;
        for (int height = 0; height < waiting.size(); height++) {
            total = merged(waiting.set(height, null), total);
        }
        leaf = total == null ? empty() : total;
        return leaf.sum;
    }

    @Override
    public void close() {
        waiting.add(leaf);
        waiting.forEach(node -> {
            if (node != null) {
                node.close();
            }
        });
        waiting.clear();
        leaf = null;
    }
}
