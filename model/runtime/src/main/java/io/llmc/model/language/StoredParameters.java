// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.backend.Backend;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.Parameters;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.Optional;

/// A checkpoint's tensors; on a device with memory of its own they are copied to `arena`.
///
/// @param inOut linear weights are stored `[in, out]` and turned while they are read
public record StoredParameters(
        TensorReader reader, Backend backend, TensorArena arena, boolean inOut)
        implements Parameters {
    @Override
    public Weight weight(String linear) {
        Weight host = reader.weight(linear);
        if (inOut && host instanceof Weight.Dense(Tensor values)) {
            host = new Weight.Dense(Transpose.of(values, reader.arena()));
        }
        return backend.adopt(host, arena);
    }

    @Override
    public Optional<InputRounding> rounding(String linear) {
        return reader.rounding(linear).map(r -> r.with(t -> backend.adopt(t, arena)));
    }

    @Override
    public Optional<CacheScheme> cache() {
        return reader.checkpoint().kvCache();
    }

    @Override
    public Tensor tensor(String name) {
        return backend.adopt(reader.tensor(name), arena);
    }

    @Override
    public Path place() {
        return reader.checkpoint().directory();
    }
}
