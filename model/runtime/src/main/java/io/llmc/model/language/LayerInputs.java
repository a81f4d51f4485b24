// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.backend.ForwardOp;
import io.llmc.model.BlockBuilder;
import io.llmc.model.Forward;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Norm;
import io.llmc.model.structure.RowSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/// What each block reads of the token itself, with its weights.
///
/// @param table `[rows, layers * width]`
record LayerInputs(RowSpec.LayerInputs spec, Tensor table, Linear project, Norm norm) {
    static LayerInputs of(ModelSpec model, BlockBuilder from, List<Linear> projections) {
        RowSpec.LayerInputs spec = model.rows().inputs();
        return new LayerInputs(
                spec,
                from.parameter(spec.table() + ".weight", spec.rows(), spec.all()),
                projections.stream()
                        .filter(p -> p.name().equals(spec.project()))
                        .findFirst()
                        .orElseThrow(),
                from.norm(spec.norm(), spec.width()));
    }

    /// Puts them where blocks look for them.
    ///
    /// @param row `[tokens, width]`
    /// @param x what the first block reads, `[tokens, hidden]`
    /// @param ids I32 host memory
    void put(Forward f, Tensor row, Tensor x, MemorySegment ids) {
        long each = x.rows() * spec.layers();
        Tensor own = f.allocate(x.rows(), spec.all());
        float root = (float) Math.sqrt(spec.width());
        f.run(new ForwardOp.Embed(own, known(f, ids), table, root));
        Tensor made = f.allocate(x.rows(), spec.all());
        project.forward(f, made, x);
        Tensor scaled = f.allocate(each, spec.width());
        float smaller = (float) (1 / Math.sqrt(x.cols()));
        f.run(new ForwardOp.Scale(scaled, made.reshape(each, spec.width()), smaller));
        Tensor normed = f.allocate(each, spec.width());
        norm.forward(f, normed, scaled);
        Tensor sum = f.allocate(x.rows(), spec.all());
        f.run(new ForwardOp.Add(sum, own, normed.reshape(x.rows(), spec.all()), 1));
        Tensor mean = f.allocate(x.rows(), spec.all());
        f.run(new ForwardOp.Scale(mean, sum, (float) Math.sqrt(0.5)));
        f.run(new ForwardOp.PutColumns(row, mean, spec.from()));
    }

    /// The tokens themselves, as rows hold them.
    ///
    /// @param ids I32 host memory
    static Tensor numbers(Forward f, MemorySegment ids) {
        long rows = ids.byteSize() / 4;
        Tensor numbers = f.allocate(rows, 1);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(ids.byteSize(), 4);
            for (long i = 0; i < rows; i++) {
                int id = ids.getAtIndex(ValueLayout.JAVA_INT, i);
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, id * RowSpec.SMALL);
            }
            f.backend().upload(numbers, values);
        }
        return numbers;
    }

    /// Ids of rows that the table has.
    private Tensor known(Forward f, MemorySegment ids) {
        long rows = ids.byteSize() / 4;
        Tensor known = f.arena().allocate(DType.I32, new Shape(rows));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment numbers = host.allocate(ids.byteSize(), 4);
            for (long i = 0; i < rows; i++) {
                int id = ids.getAtIndex(ValueLayout.JAVA_INT, i);
                numbers.setAtIndex(ValueLayout.JAVA_INT, i, id < spec.rows() ? id : 0);
            }
            f.backend().upload(known, numbers);
        }
        return known;
    }
}
