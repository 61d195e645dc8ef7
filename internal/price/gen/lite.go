package main

import (
	"context"
	"errors"
)

func liteLLM(context.Context, *wheel) ([]byte, error) { return nil, errors.New("todo") }
