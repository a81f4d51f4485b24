// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.formats.FormatException;
import io.llmc.model.ExpertsSpec.Router.Table;
import io.llmc.model.structure.RowSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;

/// The experts of each token of the vocabulary.
///
/// @param experts how many there are
/// @param table I64 `[vocabulary, topK]`
/// @param place where it comes from, for errors
record HashTable(Table spec, int experts, Tensor table, Path place) {
    static HashTable of(Table spec, int experts, BlockBuilder from) {
        Tensor table = from.parameter(spec.tensor(), spec.shape().dims());
        return new HashTable(spec, experts, table, from.place());
    }

    /// @param chosen I32 `[tokens, topK]`
    /// @param row between blocks
    void choose(Forward f, Tensor chosen, Tensor row) {
        long rows = row.rows();
        Tensor numbers = f.columns(row, spec.column(), 1);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment ids = host.allocate(4 * rows, 8);
            f.backend().download(ids, numbers);
            for (long i = 0; i < rows; i++) {
                float id = ids.getAtIndex(ValueLayout.JAVA_FLOAT, i) / RowSpec.SMALL;
                ids.setAtIndex(ValueLayout.JAVA_INT, i, (int) id);
            }
            Tensor tokens = f.arena().allocate(DType.I32, new Shape(rows));
            f.backend().upload(tokens, ids);
            Tensor looked = f.arena().allocate(DType.I64, chosen.shape());
            f.run(new ForwardOp.GatherRows(looked, table, tokens));
            f.backend().upload(chosen, narrow(f, looked, ids, host));
        }
    }

    /// @param ids of the tokens, for errors
    private MemorySegment narrow(Forward f, Tensor looked, MemorySegment ids, Arena host) {
        MemorySegment wide = host.allocate(looked.byteSize(), 8);
        f.backend().download(wide, looked);
        MemorySegment narrow = host.allocate(looked.byteSize() / 2, 8);
        for (long i = 0; i < looked.shape().size(); i++) {
            long expert = wide.getAtIndex(ValueLayout.JAVA_LONG, i);
            if (expert < 0 || expert >= experts) {
                throw new FormatException(
                        place,
                        "%s sends token %d to expert %d, but there are %d: take the published one"
                                .formatted(
                                        spec.tensor(),
                                        ids.getAtIndex(ValueLayout.JAVA_INT, i / spec.topK()),
                                        expert,
                                        experts));
            }
            narrow.setAtIndex(ValueLayout.JAVA_INT, i, (int) expert);
        }
        return narrow;
    }
}
